//! What an HSM remembers without power: wrong PINs, and signatures of a counted key.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::lock;

/// What is remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Wrong PINs since the last right one.
    pub wrong_pins_in_a_row: u64,
    /// Wrong PINs ever, those that were refused because the PIN was locked included.
    pub wrong_pins: u64,
    /// Signatures of a key with a limit. A key without one is not counted.
    pub signatures: u64,
}

/// The memory: in a file where one is named, shared by every process that names it, else as long
/// as the module is loaded.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    file: Option<PathBuf>,
    memory: Memory,
}

impl Remembered {
    /// Sets the file. What a memory without a file held stays.
    pub(crate) fn use_file(&self, file: Option<&Path>) {
        lock(&self.inner).file = file.map(Path::to_owned);
    }

    /// What is remembered now.
    pub(crate) fn read(&self) -> io::Result<Memory> {
        self.update(|memory| *memory)
    }

    /// Changes what is remembered, under a lock that every process takes.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> io::Result<T> {
        let mut inner = lock(&self.inner);
        let Some(file) = inner.file.clone() else {
            return Ok(change(&mut inner.memory));
        };
        let beside = |suffix: &str| {
            let mut name = file.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        // The lock is a file of its own, because the other one is replaced.
        let held = File::create(beside(".lock"))?;
        held.lock()?;
        let before = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
            Err(error) => return Err(error),
        };
        let mut memory = before;
        let answer = change(&mut memory);
        if memory != before {
            let new = beside(".new");
            fs::write(&new, serde_json::to_vec(&memory)?)?;
            fs::rename(&new, &file)?;
        }
        inner.memory = memory;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_name_one_file_count_together() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        let all: Vec<Remembered> = (0..3).map(|_| Remembered::default()).collect();
        all.iter().for_each(|one| one.use_file(Some(&file)));
        std::thread::scope(|scope| {
            for one in &all {
                scope.spawn(move || {
                    for _ in 0..100 {
                        one.update(|memory| memory.signatures += 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(all[0].read().unwrap().signatures, 300);
    }

    #[test]
    fn without_a_file_it_lasts_as_long_as_itself() {
        let one = Remembered::default();
        one.update(|memory| memory.wrong_pins = 2).unwrap();
        one.use_file(None);
        assert_eq!(one.read().unwrap().wrong_pins, 2);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        fs::write(&file, "{").unwrap();
        let one = Remembered::default();
        one.use_file(Some(&file));
        assert!(one.read().is_err());
    }
}
