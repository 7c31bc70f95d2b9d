//! A file system in memory that knows what is durable and what is not, and that can crash at any
//! moment, fail any operation, and be full.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use birthmark_log::{AlignedBytes, LockGuard, Storage, StorageFile, Volume};

use crate::rig::Random;

/// The simulated file system. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<World>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The operation fails and does nothing. A failed sync drops what was written.
    Failed(io::ErrorKind),
    /// The operation fails, but was done all the same.
    FailedButDone(io::ErrorKind),
}

/// Called before each changing operation with an image-maker and the number of the operation.
pub(crate) type Hook = Box<dyn FnMut(&World, u64) + Send>;

#[derive(Default)]
pub(crate) struct World {
    inodes: Vec<Inode>,
    /// What a process sees.
    names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    /// What a crash leaves at least.
    durable_names: BTreeMap<PathBuf, usize>,
    durable_dirs: BTreeSet<PathBuf>,
    /// Changes of names that are not durable yet, in order.
    journal: Vec<(PathBuf, NameChange)>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    fault: Option<(u64, FaultKind)>,
    /// Bytes by which files may still grow.
    space: Option<u64>,
    /// Somebody else takes the blocks of removed files at once.
    greedy_neighbor: bool,
    hook: Option<Hook>,
    /// Things a correct log never does.
    violations: Vec<String>,
}

#[derive(Clone, Default)]
struct Inode {
    visible: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
    /// Sectors that a failed sync dropped and nobody has written since.
    dropped: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    MakeDir(PathBuf),
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveDir(PathBuf),
}

impl Sim {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails the changing operation with this number, counted from now.
    pub(crate) fn fail_at(&self, operation: u64, kind: FaultKind) {
        let mut world = self.world();
        world.fault = Some((world.operations + operation, kind));
    }

    /// No more faults, even if the one that was asked for has not come.
    pub(crate) fn heal(&self) {
        self.world().fault = None;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    pub(crate) fn set_hook(&self, hook: Hook) {
        self.world().hook = Some(hook);
    }

    pub(crate) fn clear_hook(&self) {
        self.world().hook = None;
    }

    pub(crate) fn set_space(&self, bytes: Option<u64>) {
        self.world().space = bytes;
    }

    /// A full disk that stays full whatever is removed.
    pub(crate) fn fill_for_good(&self) {
        let mut world = self.world();
        world.space = Some(0);
        world.greedy_neighbor = true;
    }

    pub(crate) fn assert_no_violations(&self) {
        assert_eq!(self.world().violations, Vec::<String>::new());
    }

    /// What a crash now could leave behind.
    pub(crate) fn crash(&self, random: &mut Random) -> Sim {
        self.world().crash(random)
    }

    /// An independent copy, as it is.
    pub(crate) fn copy(&self) -> Sim {
        self.world().copy()
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    pub(crate) fn content(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.inodes[world.names[path]].visible.clone()
    }

    /// `None` when there is no such file.
    pub(crate) fn try_content(&self, path: &Path) -> Option<Vec<u8>> {
        self.world().visible(path)
    }

    pub(crate) fn set_content(&self, path: &Path, content: Vec<u8>) {
        let mut world = self.world();
        let inode = world.names[path];
        world.inodes[inode] = Inode {
            visible: content.clone(),
            durable: content,
            ..Inode::default()
        };
    }

    pub(crate) fn flip(&self, path: &Path, at: usize, mask: u8) {
        let mut world = self.world();
        let inode = world.names[path];
        world.inodes[inode].visible[at] ^= mask;
    }
}

impl World {
    /// Any subset of the sectors written since the last sync, and any prefix of the changes of
    /// names since the last sync of their directory.
    pub(crate) fn crash(&self, random: &mut Random) -> Sim {
        let mut after = World {
            durable_names: self.durable_names.clone(),
            durable_dirs: self.durable_dirs.clone(),
            ..World::default()
        };
        // None, all, or a random part: the first are the hardest, and rare in a long journal.
        let kept = match random.below(3) {
            0 => 0,
            1 => self.journal.len(),
            _ => random.below(self.journal.len() as u64 + 1) as usize,
        };
        for (_, change) in &self.journal[..kept] {
            after.apply_durably(change);
        }
        for inode in &self.inodes {
            let mut content = inode.durable.clone();
            let unit = if random.below(2) == 0 { 512 } else { 4096 };
            // None, all, or a random share of the sectors.
            let share = [0, 20, 50, 80, 100][random.below(5) as usize];
            for (offset, bytes) in &inode.pending {
                let mut at = *offset;
                let end = offset + bytes.len();
                while at < end {
                    let next = ((at / unit + 1) * unit).min(end);
                    if random.below(100) < share {
                        put(&mut content, at, &bytes[at - offset..next - offset]);
                    }
                    at = next;
                }
            }
            after.inodes.push(Inode {
                visible: content.clone(),
                durable: content,
                ..Inode::default()
            });
        }
        after.names = after.durable_names.clone();
        after.dirs = after.durable_dirs.clone();
        Sim(Arc::new(Mutex::new(after)))
    }

    /// What everybody sees of a file; `None` when it is not there.
    pub(crate) fn visible(&self, path: &Path) -> Option<Vec<u8>> {
        Some(self.inodes[*self.names.get(path)?].visible.clone())
    }

    /// An independent copy: what a killed process leaves.
    pub(crate) fn copy(&self) -> Sim {
        Sim(Arc::new(Mutex::new(World {
            inodes: self.inodes.clone(),
            names: self.names.clone(),
            dirs: self.dirs.clone(),
            durable_names: self.durable_names.clone(),
            durable_dirs: self.durable_dirs.clone(),
            journal: self.journal.clone(),
            ..World::default()
        })))
    }

    fn apply_durably(&mut self, change: &NameChange) {
        apply(&mut self.durable_names, &mut self.durable_dirs, change);
    }

    fn change(&mut self, dir: &Path, change: NameChange) {
        apply(&mut self.names, &mut self.dirs, &change);
        self.journal.push((dir.to_owned(), change));
    }

    /// Counts a changing operation, shows it to the hook, and tells what shall fail.
    fn step(&mut self) -> Option<FaultKind> {
        if let Some(mut hook) = self.hook.take() {
            hook(self, self.operations);
            self.hook = Some(hook);
        }
        let now = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, kind)) if at == now => Some(kind),
            _ => None,
        }
    }

    fn perform(&mut self, action: impl FnOnce(&mut World) -> io::Result<()>) -> io::Result<()> {
        match self.step() {
            None => action(self),
            Some(FaultKind::Failed(kind)) => Err(kind.into()),
            Some(FaultKind::FailedButDone(kind)) => {
                action(self)?;
                Err(kind.into())
            }
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, dirs: &mut BTreeSet<PathBuf>, change: &NameChange) {
    match change {
        NameChange::MakeDir(dir) => {
            dirs.insert(dir.clone());
        }
        NameChange::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::RemoveDir(dir) => {
            dirs.remove(dir);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
            if dirs.remove(from) {
                dirs.insert(to.clone());
                let below: Vec<PathBuf> = dirs
                    .iter()
                    .filter(|dir| dir.starts_with(from))
                    .cloned()
                    .collect();
                for dir in below {
                    dirs.insert(to.join(dir.strip_prefix(from).expect("it starts with it")));
                    dirs.remove(&dir);
                }
                let inside: Vec<PathBuf> = names
                    .keys()
                    .filter(|path| path.starts_with(from))
                    .cloned()
                    .collect();
                for path in inside {
                    let moved = to.join(path.strip_prefix(from).expect("it starts with it"));
                    let inode = names.remove(&path).expect("just listed");
                    names.insert(moved, inode);
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
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
        Ok(Arc::new(SimFile {
            sim: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path, _writable: bool) -> io::Result<Arc<dyn StorageFile>> {
        let world = self.world();
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            sim: self.clone(),
            inode,
        }))
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
            let last = world.journal.iter().rposition(|(of, _)| of == dir);
            let durable: Vec<_> = world.journal.drain(..last.map_or(0, |at| at + 1)).collect();
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
        Ok(Box::new(self.clone()))
    }
}

impl Volume for Sim {
    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        let synced = world.perform(|world| {
            let changes: Vec<_> = world.journal.drain(..).collect();
            for (_, change) in &changes {
                world.apply_durably(change);
            }
            world.inodes.iter_mut().for_each(Inode::sync);
            Ok(())
        });
        if synced.is_err() {
            world.inodes.iter_mut().for_each(Inode::drop_pending);
        }
        synced
    }
}

impl Inode {
    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            put(&mut self.durable, offset, &bytes);
        }
    }

    /// As Linux does it when a sync fails: the pages are marked clean, still show what was written,
    /// and are not written again unless somebody writes to them.
    fn drop_pending(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            self.dropped.extend(sectors(offset, bytes.len()));
        }
    }
}

impl World {
    fn give_back(&mut self, inode: Option<usize>) {
        if self.greedy_neighbor {
            return;
        }
        if let (Some(inode), Some(space)) = (inode, &mut self.space) {
            *space += self.inodes[inode].visible.len() as u64;
        }
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

    fn sync_data(&self) -> io::Result<()> {
        let mut world = self.sim.world();
        let synced = world.perform(|world| {
            world.inodes[self.inode].sync();
            Ok(())
        });
        if synced.is_ok() && !world.inodes[self.inode].dropped.is_empty() {
            let violation = "a failed sync was repeated as if that could bring its data back";
            world.violations.push(violation.to_owned());
        }
        if synced.is_err() {
            world.inodes[self.inode].drop_pending();
        }
        synced
    }
}

fn sectors(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    offset / 512..(offset + bytes).div_ceil(512)
}
