//! One file of a spool by itself, for tools that look at it.

use super::file;
use super::{EncryptedKey, SpooledKey};

/// What is wrong with a file of a spool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged at {offset}: {what}")]
#[non_exhaustive]
pub struct SpoolFileDamage {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// The keys that wait in a file of a spool, in their order. The file is given whole, with the number that its name
/// has. What stands behind the last batch that can be read is passed over: one file alone cannot say whether it
/// ever was durable.
///
/// # Errors
/// The first damage.
pub fn read_spool_file(
    bytes: &[u8],
    number: u64,
) -> Result<Vec<(SpooledKey, EncryptedKey)>, SpoolFileDamage> {
    let damage = |offset, what| SpoolFileDamage { offset, what };
    let scan = file::scan(bytes, number).map_err(|found| damage(found.offset, found.what))?;
    let waiting = scan.keys.into_iter().filter(|key| !key.done);
    waiting
        .map(|found| {
            let start = found.offset as usize;
            let entry = bytes.get(start..start + found.bytes as usize);
            let key = entry.and_then(|entry| file::read_entry(entry, &found.serial));
            let key = key.ok_or_else(|| damage(u64::from(found.offset), "a key cannot be read"))?;
            let spooled = SpooledKey {
                serial: found.serial,
                delivery: found.delivery,
            };
            Ok((spooled, key))
        })
        .collect()
}
