//! Making room: keys that wait for long in files which are done with but for them.
//!
//! A file of which little waits is emptied: its keys are copied into the newest file, durably, then marked in the
//! old one, then the old one is removed. A crash between these steps leaves a key twice, under the same serial
//! number, and the copy counts. So the files take at most [`LIVE_PART_MIN`] times what waits in them, but for the
//! newest one.

use std::io;

use super::file;
use super::thread::{Writer, Writing, write_marks};
use super::{EncryptedKey, Serial};

/// A file is emptied when less than one part in so many of it waits. That bounds what is copied at a time, 1 MiB
/// of a file of 8 MiB. And a line that acknowledges in the order of its devices, however late, rarely makes the
/// spool copy anything.
const LIVE_PART_MIN: u64 = 8;

/// A key in the file that is emptied.
struct Waiting {
    serial: Serial,
    ordinal: u32,
    copied: bool,
    key: EncryptedKey,
}

impl Writer {
    /// Empties the oldest file that is worth it. If there was one, there may be more: the next turn sees to that,
    /// and what came meanwhile comes first.
    pub(super) fn compact_one(&mut self) {
        // Keys are copied only while the log can be asked for their records.
        let sink = self.shared.sink.clone();
        let Some(sink) = sink.filter(|sink| sink.log_end().is_some()) else {
            return;
        };
        if self.shared.lock().failed.is_some() {
            return;
        }
        for number in self.candidates() {
            let Some(keys) = self.waiting_in(number) else {
                continue;
            };
            // What a start may still have to drop, because its certificate never came, stays where such keys are
            // looked for.
            let held_against = self.shared.binding().binding.held_against;
            let new = keys
                .iter()
                .filter(|key| !key.copied && (number, key.ordinal) >= held_against);
            let new: Vec<_> = new.map(|key| key.serial).collect();
            if !sink.are_recorded(&new) {
                continue;
            }
            match self.copy_out(number, &keys) {
                Ok(()) => {
                    self.settle();
                    self.shared.lock().compact_due = true;
                }
                Err(Stop::Now) => {}
                Err(Stop::Failed(error)) => drop(self.fail(&error)),
            }
            return;
        }
    }

    /// Files of which little waits, the oldest first.
    fn candidates(&self) -> Vec<u64> {
        let part_max = self.shared.options.file_bytes / LIVE_PART_MIN;
        let state = self.shared.lock();
        let full = state.files.range(..state.end.0);
        let little = full
            .filter(|(_, file)| file.live > 0 && file.live_bytes <= part_max && !file.unreadable);
        little.map(|(number, _)| *number).collect()
    }

    /// The keys that wait in a file. One of which a key cannot be read stays.
    fn waiting_in(&self, number: u64) -> Option<Vec<Waiting>> {
        let keys = self.read_waiting(number);
        if keys.is_none()
            && let Some(file) = self.shared.lock().files.get_mut(&number)
        {
            file.unreadable = true;
        }
        keys
    }

    fn read_waiting(&self, number: u64) -> Option<Vec<Waiting>> {
        let file = self.shared.lock().file(number).ok()?;
        let mut bytes = vec![0; file.size().ok()? as usize];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let mut found = file::scan(&bytes, number).ok()?.keys;
        {
            let state = self.shared.lock();
            found.retain(|key| {
                let place = state.live.get(&key.serial);
                place.is_some_and(|place| place.spot() == (number, key.ordinal))
            });
        }
        let read = |key: file::Found| {
            let entry = &bytes[key.offset as usize..][..key.bytes as usize];
            Some(Waiting {
                serial: key.serial,
                ordinal: key.ordinal,
                copied: key.copied,
                key: file::read_entry(entry, &key.serial)?,
            })
        };
        let live = self.shared.lock().files.get(&number)?.live as usize;
        let keys: Vec<_> = found.into_iter().map(read).collect::<Option<_>>()?;
        (keys.len() == live).then_some(keys)
    }

    /// Copies keys into the newest file, and marks in the old one what was copied.
    fn copy_out(&mut self, number: u64, keys: &[Waiting]) -> Result<(), Stop> {
        let mut copied = 0;
        let mut outcome = Ok(());
        while copied < keys.len() {
            if self.have_room(&keys[copied].key).is_err() {
                outcome = Err(Stop::Now);
                break;
            }
            let rest = keys[copied..].iter().map(|key| Writing {
                serial: key.serial,
                key: &key.key,
                copied: true,
            });
            copied += self.write_batch(rest)?;
        }
        let marks = keys[..copied].iter();
        let marks: Vec<_> = marks.map(|key| (key.serial, key.ordinal)).collect();
        let file = self.shared.lock().file(number)?;
        write_marks(&*file, number, &marks)?;
        outcome
    }
}

/// Why a file is not emptied.
enum Stop {
    /// There is no room for another file, which passes; or the spool has failed already.
    Now,
    /// A write or sync failed.
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}
