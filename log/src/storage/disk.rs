//! The real file system.
//!
//! Large files that are written once and read once bypass the system's cache (`O_DIRECT`): a copy
//! through it costs several times the processor time of the transfer itself (measured: 1.3 against 0.17 ns
//! a byte written), and would push out of the memory what is read again and again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;

use super::aligned::{ALIGNMENT, AlignedBytes};
use super::{LockGuard, Storage, StorageFile, Volume, check_length, read_file};

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskStorage;

impl Storage for DiskStorage {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create_private_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(above) = dir.parent() {
            fs::create_dir_all(above)?;
        }
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(create_file(path)?))
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(
            OpenOptions::new().read(true).write(writable).open(path)?,
        ))
    }

    fn create_direct(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        direct(create_file(path)?, path, true)
    }

    fn open_direct(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        let cached = OpenOptions::new().read(true).write(writable).open(path)?;
        direct(cached, path, writable)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = match bytes.len() < DIRECT_BYTES_MIN {
            true => create_file(path)?,
            false => match create_past_cache(path) {
                Err(error) if is_refused(&error) => create_file(path)?,
                created => return write_past_cache(&created?, bytes),
            },
        };
        FileExt::write_all_at(&file, bytes, 0)
    }

    fn read_medium(&self, path: &Path, bytes_max: u64, bytes: &mut AlignedBytes) -> io::Result<()> {
        match open_past_cache(path, false).and_then(|file| read_direct(&file, bytes_max, bytes)) {
            // tmpfs and others have no medium to read from.
            Err(error) if is_refused(&error) => {
                bytes.clear();
                bytes.extend_from_slice(&read_file(self, path, bytes_max)?);
                Ok(())
            }
            read => read,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn volume(&self, dir: &Path) -> io::Result<Box<dyn Volume>> {
        Ok(Box::new(File::open(dir)?))
    }
}

impl Volume for File {
    fn sync(&self) -> io::Result<()> {
        // Since Linux 5.8 it also reports what was not written back since this file was opened.
        Ok(rustix::fs::syncfs(self)?)
    }
}

impl StorageFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(true);
    options.open(path)
}

/// The flag of a file whose transfers bypass the cache.
const DIRECT: i32 = OFlags::DIRECT.bits() as i32;

/// Smallest file that is written past the cache: transferring a few pages costs more than copying them.
const DIRECT_BYTES_MIN: usize = 16 << 10;

fn create_past_cache(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(true);
    options.custom_flags(DIRECT).open(path)
}

/// Writes a whole file that was just made, past the cache as far as it is aligned, and the rest through it:
/// `pwrite`, and `fcntl(F_SETFL)` and `pwrite`.
///
/// Opening it a second time for the rest would cost more. A rest begins with a whole block of the file system,
/// so that it need not be read first.
fn write_past_cache(file: &File, bytes: &[u8]) -> io::Result<()> {
    let aligned = bytes.as_ptr().addr().is_multiple_of(SECTOR_BYTES);
    let units = [SECTOR_BYTES, ALIGNMENT].map(|unit| bytes.len() - bytes.len() % unit);
    let mut written = 0;
    for part in units {
        let rest = bytes.len() - part;
        if !aligned || part == 0 || (rest > 0 && !part.is_multiple_of(ALIGNMENT)) {
            continue;
        }
        match FileExt::write_all_at(file, &bytes[..part], 0) {
            Err(error) if is_refused(&error) => {}
            transfer => {
                transfer?;
                written = part;
                break;
            }
        }
    }
    if written < bytes.len() {
        rustix::fs::fcntl_setfl(file, OFlags::empty())?;
        FileExt::write_all_at(file, &bytes[written..], written as u64)?;
    }
    Ok(())
}

fn open_past_cache(path: &Path, writable: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(writable);
    options.custom_flags(DIRECT).open(path)
}

/// Whether this is the answer of a file system or disk that does no such transfer.
fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error())
}

fn direct(cached: File, path: &Path, writable: bool) -> io::Result<Arc<dyn StorageFile>> {
    match open_past_cache(path, writable) {
        Ok(direct) => Ok(Arc::new(DirectFile {
            direct,
            cached,
            sectors: AtomicBool::new(true),
        })),
        Err(error) if is_refused(&error) => Ok(Arc::new(cached)),
        Err(error) => Err(error),
    }
}

/// Smallest transfer past the cache on most disks; on the others it is [`ALIGNMENT`].
const SECTOR_BYTES: usize = 512;

/// A file whose aligned transfers bypass the cache. The rest goes through it; the system keeps both
/// views the same.
struct DirectFile {
    direct: File,
    cached: File,
    /// The disk takes single sectors, as far as is known.
    sectors: AtomicBool,
}

impl DirectFile {
    /// How many of `len` bytes at `memory` and `offset` can go past the cache.
    fn direct_part(&self, memory: *const u8, len: usize, offset: u64) -> usize {
        let unit = match self.sectors.load(Ordering::Relaxed) {
            true => SECTOR_BYTES,
            false => ALIGNMENT,
        };
        let aligned = memory.addr().is_multiple_of(SECTOR_BYTES);
        match aligned && offset.is_multiple_of(unit as u64) {
            true => len - len % unit,
            false => 0,
        }
    }

    /// Tries a transfer past the cache. `false` when it has to go through it.
    fn try_direct(&self, transfer: io::Result<()>) -> io::Result<bool> {
        match transfer {
            Ok(()) => Ok(true),
            Err(error) if is_refused(&error) => {
                self.sectors.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl StorageFile for DirectFile {
    fn size(&self) -> io::Result<u64> {
        self.cached.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let part = self.direct_part(buffer.as_ptr(), buffer.len(), offset);
        let (whole, rest) = buffer.split_at_mut(part);
        if part == 0 || !self.try_direct(FileExt::read_exact_at(&self.direct, whole, offset))? {
            FileExt::read_exact_at(&self.cached, whole, offset)?;
        }
        FileExt::read_exact_at(&self.cached, rest, offset + part as u64)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let part = self.direct_part(bytes.as_ptr(), bytes.len(), offset);
        let (whole, rest) = bytes.split_at(part);
        if part == 0 || !self.try_direct(FileExt::write_all_at(&self.direct, whole, offset))? {
            FileExt::write_all_at(&self.cached, whole, offset)?;
        }
        FileExt::write_all_at(&self.cached, rest, offset + part as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.cached.sync_data()
    }
}

/// Reads a whole file past the cache, its last part of a block too.
fn read_direct(file: &File, bytes_max: u64, bytes: &mut AlignedBytes) -> io::Result<()> {
    let size = file.metadata()?.len();
    check_length(size, bytes_max)?;
    let len = size as usize;
    bytes.resize_for_overwrite(len.next_multiple_of(ALIGNMENT));
    let mut read = 0;
    while read < len {
        match FileExt::read_at(file, &mut bytes[read..], read as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    bytes.resize_for_overwrite(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::fixed_seed())]

        /// Aligned and unaligned transfers mixed, seen through both kinds of handles.
        #[test]
        fn past_the_cache_and_through_it_show_the_same(
            writes in prop::collection::vec(
                (0..40_000_u64, 1..20_000_usize, any::<bool>(), any::<bool>(), any::<u8>()),
                1..20,
            ),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            let file = DiskStorage.create_direct(&path).unwrap();
            let cached = DiskStorage.open(&path, true).unwrap();
            let (mut model, mut memory) = (Vec::new(), AlignedBytes::default());
            for (offset, len, aligned, through_cache, byte) in writes {
                let (offset, len) = match aligned {
                    true => (offset / 512 * 512, len.next_multiple_of(512)),
                    false => (offset, len),
                };
                let end = offset as usize + len;
                model.resize(model.len().max(end), 0);
                model[offset as usize..end].fill(byte);
                memory.clear();
                memory.resize(len);
                memory.fill(byte);
                let to = if through_cache { &cached } else { &file };
                to.write_all_at(&memory, offset).unwrap();
                memory.resize(model.len());
                for from in [&file, &cached] {
                    memory.fill(byte.wrapping_add(1));
                    from.read_exact_at(&mut memory, 0).unwrap();
                    prop_assert_eq!(&memory[..], &model[..]);
                }
            }
            file.sync_data().unwrap();
            DiskStorage.read_medium(&path, model.len() as u64, &mut memory).unwrap();
            prop_assert_eq!(&memory[..], &model[..]);
            let short = DiskStorage.read_medium(&path, model.len() as u64 - 1, &mut memory);
            prop_assert_eq!(short.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_new_file_has_its_bytes_and_no_others_however_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut again = AlignedBytes::default();
        let lengths = [
            300_000, 0, 1, 8192, 16_383, 16_384, 16_385, 20_480, 20_992, 24_575, 221_184, 221_185,
        ];
        for (round, len) in lengths.into_iter().enumerate() {
            for shift in [0, 1, 512] {
                let mut memory = AlignedBytes::default();
                memory.resize(shift + len);
                for (at, byte) in memory.iter_mut().enumerate() {
                    *byte = (at * 31 + round * 7 + shift) as u8;
                }
                DiskStorage.write_new(&path, &memory[shift..]).unwrap();
                assert!(fs::read(&path).unwrap() == memory[shift..], "{len} bytes");
                let file = File::open(&path).unwrap();
                Volume::sync(&file).unwrap();
                DiskStorage
                    .read_medium(&path, len as u64, &mut again)
                    .unwrap();
                assert!(again[..] == memory[shift..], "{len} bytes from the medium");
            }
        }
    }

    #[test]
    fn a_disk_of_large_blocks_gets_what_does_not_fit_through_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let cached = create_file(&path).unwrap();
        let file = DirectFile {
            direct: open_past_cache(&path, true).unwrap_or_else(|_| create_file(&path).unwrap()),
            cached,
            sectors: AtomicBool::new(true),
        };
        let mut memory = AlignedBytes::default();
        memory.resize(8192);
        assert_eq!(file.direct_part(memory.as_ptr(), 8000, 512), 7680);
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error());
        assert!(!file.try_direct(Err(refused)).unwrap());
        assert_eq!(file.direct_part(memory.as_ptr(), 8000, 512), 0);
        assert_eq!(file.direct_part(memory.as_ptr(), 8000, 4096), 4096);
        assert_eq!(file.direct_part(memory[1..].as_ptr(), 8000, 4096), 0);
        let other = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
        assert!(file.try_direct(Err(other)).is_err());
    }
}
