//! Which logs a log goes on from: each restore left a record that names the one before.

use std::path::Path;
use std::sync::Arc;

use super::restore::RestoreError;
use crate::batch::{Frame, FrameKind, NO_RESERVATION};
use crate::error::VerifyError;
use crate::record::{RECORD_PREFIX_BYTES, RecordIndex};
use crate::scan::{Fault, Visitor, walk};
use crate::segment::SegmentHeader;
use crate::storage::Storage;

/// Kind of an officer's act (second byte of the record).
const OFFICERS_ACT: u8 = 3;

/// What the act of a restore says after the time: the text `restored` (RFC 8949 §3.1).
const RESTORED: &[u8] = b"\x68restored";

/// Whether two origins are one to a person or a file system that does not tell upper from lower case.
pub(super) fn same_origin(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Looks through records for one that says that a log of this name was restored from.
pub(super) struct Lineage<'a> {
    /// The new log's origin.
    origin: &'a str,
    /// The earlier origin that is the same, if one was seen.
    found: Option<String>,
}

impl<'a> Lineage<'a> {
    pub(super) fn new(origin: &'a str) -> Lineage<'a> {
        Lineage {
            origin,
            found: None,
        }
    }

    /// Takes one record of the old log in.
    pub(super) fn see(&mut self, record: &[u8]) {
        if let Some(earlier) = restored_from(record)
            && same_origin(earlier, self.origin)
        {
            self.found = Some(earlier.to_owned());
        }
    }

    /// Takes in what is in the segments of the log in `dir` after its first `published` records. What
    /// came without a reservation was shown to no check: it must be an officer's act.
    pub(super) fn see_segments(
        &mut self,
        storage: &Arc<dyn Storage>,
        dir: &Path,
        published: u64,
    ) -> Result<(), VerifyError> {
        let mut unpublished = Unpublished {
            lineage: self,
            published,
        };
        walk(&**storage, dir, &mut unpublished)?;
        Ok(())
    }

    /// # Errors
    /// [`RestoreError::SameLog`]: a log before this one had the name.
    pub(super) fn check(self) -> Result<(), RestoreError> {
        match self.found {
            None => Ok(()),
            Some(origin) => Err(RestoreError::SameLog {
                what: "the origin",
                origin,
            }),
        }
    }
}

struct Unpublished<'a, 'b> {
    lineage: &'a mut Lineage<'b>,
    published: u64,
}

impl Visitor for Unpublished<'_, '_> {
    fn segment(&mut self, _header: &SegmentHeader) {}

    fn frame(&mut self, _offset: u32, index: RecordIndex, frame: &Frame<'_>) -> Result<(), Fault> {
        if frame.kind != FrameKind::Record || index.0 < self.published {
            return Ok(());
        }
        if frame.reservation == NO_RESERVATION && frame.payload.get(1) != Some(&OFFICERS_ACT) {
            return Err(Fault::Corrupt(
                "a record without a reservation is no officer's act",
            ));
        }
        self.lineage.see(frame.payload);
        Ok(())
    }

    fn batch_end(&mut self, _bytes: u64) {}
}

/// The old origin in the act of a restore: `[3, 1, time_ms, "restored", old origin, …]`.
fn restored_from(record: &[u8]) -> Option<&str> {
    if record.get(1) != Some(&OFFICERS_ACT) {
        return None;
    }
    let rest = record.get(RECORD_PREFIX_BYTES..)?.strip_prefix(RESTORED)?;
    // Heads of a text in their shortest form (RFC 8949 §4.2.1); an origin has far below 64 KiB.
    let (length, text) = match rest {
        [head @ 0x60..=0x77, text @ ..] => (usize::from(head & 0x1F), text),
        [0x78, length, text @ ..] => (usize::from(*length), text),
        [0x79, high, low, text @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), text),
        _ => return None,
    };
    std::str::from_utf8(text.get(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::restored;
    use crate::tlog::{Checkpoint, empty_root};

    #[test]
    fn the_old_origin_is_read_as_it_was_written() {
        for bytes in [1, 23, 24, 255, 256, 300] {
            let origin = "o".repeat(bytes);
            let old = Checkpoint {
                origin: origin.clone(),
                size: 5,
                root: empty_root(),
            };
            let act = restored(&old, 9);
            assert_eq!(restored_from(&act), Some(origin.as_str()));
            for end in 0..22 {
                assert_eq!(restored_from(&act[..end]), None, "{bytes}: {end}");
            }
            let mut lineage = Lineage::new("O");
            lineage.see(&act);
            assert_eq!(lineage.check().is_err(), bytes == 1);
        }
    }
}
