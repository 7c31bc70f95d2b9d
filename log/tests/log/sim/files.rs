//! What the log sees of the simulated file system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use birthmark_log::{AlignedBytes, LockGuard, Storage, StorageFile, Volume};

use super::{Inode, NameChange, Sim, World, parent, put, sectors};

impl Sim {
    fn handle(&self, world: &World, inode: usize) -> Arc<dyn StorageFile> {
        Arc::new(SimFile {
            sim: self.clone(),
            inode,
            losses_told: AtomicU64::new(world.inodes[inode].losses),
        })
    }
}

impl Storage for Sim {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.dirs.contains(dir) {
            return Ok(());
        }
        world.perform(|world| {
            let mut above: Vec<&Path> = dir.ancestors().collect();
            above.reverse();
            for dir in above {
                if !world.dirs.contains(dir) {
                    world.change(&parent(dir), NameChange::MakeDir(dir.to_owned()));
                }
            }
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = world.names.keys().chain(world.dirs.iter());
        let inside = all.filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = self.world();
        world.perform(|world| {
            let inode = world.inodes.len();
            world.inodes.push(Inode::default());
            world.change(&parent(path), NameChange::Create(path.to_owned(), inode));
            Ok(())
        })?;
        let inode = world.names[path];
        Ok(self.handle(&world, inode))
    }

    fn open(&self, path: &Path, _writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        let world = self.world();
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(&world, inode))
    }

    fn read_medium(&self, path: &Path, bytes_max: u64, bytes: &mut AlignedBytes) -> io::Result<()> {
        let world = self.world();
        let inode = &world.inodes[*world.names.get(path).ok_or(io::ErrorKind::NotFound)?];
        assert!(inode.durable.len() as u64 <= bytes_max);
        bytes.clear();
        bytes.extend_from_slice(&inode.durable);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.world().perform(|world| {
            if !world.names.contains_key(from) && !world.dirs.contains(from) {
                return Err(io::ErrorKind::NotFound.into());
            }
            let change = NameChange::Rename(from.to_owned(), to.to_owned());
            let replaced = world.names.get(to).copied();
            world.change(&parent(to), change);
            world.give_back(replaced);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world().perform(|world| {
            let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
            world.change(&parent(path), NameChange::Remove(path.to_owned()));
            world.give_back(Some(inode));
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.world().perform(|world| {
            if world.names.keys().any(|path| path.starts_with(dir)) {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let known = world.dirs.contains(dir);
            world.change(&parent(dir), NameChange::RemoveDir(dir.to_owned()));
            known.then_some(()).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.world().perform(|world| {
            let journal = std::mem::take(&mut world.journal);
            let (durable, rest) = journal.into_iter().partition(|(of, _)| of == dir);
            let durable: Vec<_> = durable;
            world.journal = rest;
            for (_, change) in &durable {
                world.apply_durably(change);
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<LockGuard> {
        if !self.world().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            sim: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn volume(&self, _dir: &Path) -> io::Result<Box<dyn Volume>> {
        Ok(Box::new(SimVolume {
            sim: self.clone(),
            losses_told: AtomicU64::new(self.world().losses()),
        }))
    }
}

struct SimVolume {
    sim: Sim,
    /// Losses that a sync of this handle has told of, or that came before it was opened.
    losses_told: AtomicU64,
}

impl Volume for SimVolume {
    /// As Linux does it: what another's sync has lost, each handle is told once (syncfs(2), *Errors*).
    fn sync(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        let synced = world.perform(|world| {
            let changes: Vec<_> = world.journal.drain(..).collect();
            for (_, change) in &changes {
                world.apply_durably(change);
            }
            world.inodes.iter_mut().for_each(Inode::sync);
            tell_losses(&self.losses_told, world.losses())
        });
        if synced.is_err() {
            world.inodes.iter_mut().for_each(Inode::drop_pending);
            self.losses_told.store(world.losses(), Ordering::Relaxed);
        }
        synced
    }
}

/// An error when there were more losses than were told.
fn tell_losses(told: &AtomicU64, losses: u64) -> io::Result<()> {
    match told.swap(losses, Ordering::Relaxed) == losses {
        true => Ok(()),
        false => Err(io::Error::other("something written before was lost")),
    }
}

struct SimLock {
    sim: Sim,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.sim.world().locks.remove(&self.path);
    }
}

struct SimFile {
    sim: Sim,
    inode: usize,
    /// Losses that a sync of this handle has told of, or that came before it was opened.
    losses_told: AtomicU64,
}

impl StorageFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.sim.world().inodes[self.inode].visible.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let world = self.sim.world();
        let content = &world.inodes[self.inode].visible;
        let start = offset as usize;
        let part = content.get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.sim.world().perform(|world| {
            let inode = &mut world.inodes[self.inode];
            let grown = (offset + bytes.len() as u64).saturating_sub(inode.visible.len() as u64);
            if let Some(space) = &mut world.space {
                *space = space.checked_sub(grown).ok_or(io::ErrorKind::StorageFull)?;
            }
            put(&mut inode.visible, offset as usize, bytes);
            for sector in sectors(offset as usize, bytes.len()) {
                inode.dropped.remove(&sector);
            }
            inode.pending.push((offset as usize, bytes.to_vec()));
            Ok(())
        })
    }

    /// As Linux does it: what a sync of the volume or of another handle has lost, each handle that
    /// was open then is told once, by its next sync (fsync(2), *Errors*). A handle opened later
    /// is never told, which is harder than Linux.
    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        if world.volume_fails_in_fill && world.is_being_filled(self.inode) {
            world.volume_fails_in_fill = false;
            world.inodes.iter_mut().for_each(Inode::drop_pending);
        }
        let synced = world.perform(|world| {
            let inode = &mut world.inodes[self.inode];
            inode.sync();
            tell_losses(&self.losses_told, inode.losses)
        });
        let inode = &mut world.inodes[self.inode];
        if synced.is_err() {
            inode.drop_pending();
            self.losses_told.store(inode.losses, Ordering::Relaxed);
        } else if !inode.dropped.is_empty() {
            let violation = "a failed sync was repeated as if that could bring its data back";
            world.violations.push(violation.to_owned());
        }
        synced
    }
}
