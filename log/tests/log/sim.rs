//! A file system in memory that knows what is durable and what is not, and that can crash at any
//! moment, fail any operation, and be full.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::rig::Random;

#[path = "sim/files.rs"]
mod files;

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
    /// The volume's sync fails while a segment file is being filled.
    volume_fails_in_fill: bool,
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
    /// How often something written was dropped.
    losses: u64,
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

    /// Somebody else's sync of the whole volume fails between the next filling of a segment and the
    /// sync of its file.
    pub(crate) fn fail_volume_in_fill(&self) {
        self.world().volume_fails_in_fill = true;
    }

    /// Whether [`Sim::fail_volume_in_fill`] still waits for a segment to be filled.
    pub(crate) fn volume_fails_still(&self) -> bool {
        self.world().volume_fails_in_fill
    }

    /// No more faults, even if the one that was asked for has not come.
    pub(crate) fn heal(&self) {
        let mut world = self.world();
        world.fault = None;
        world.volume_fails_in_fill = false;
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
        after.forget_unreachable();
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

    /// Durable names in a directory whose own name is not durable are found by nobody.
    fn forget_unreachable(&mut self) {
        let root = Path::new("/");
        let mut reached = BTreeSet::from([root.to_owned()]);
        // In this order a directory comes before what is in it.
        for dir in std::mem::take(&mut self.durable_dirs) {
            if dir == root || reached.contains(&parent(&dir)) {
                reached.insert(dir);
            }
        }
        self.durable_names
            .retain(|path, _| reached.contains(&parent(path)));
        self.durable_dirs = reached;
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
impl Inode {
    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            put(&mut self.durable, offset, &bytes);
        }
    }

    /// As Linux does it when a sync fails: the pages are marked clean, still show what was written,
    /// and are not written again unless somebody writes to them.
    fn drop_pending(&mut self) {
        self.losses += u64::from(!self.pending.is_empty());
        for (offset, bytes) in std::mem::take(&mut self.pending) {
            self.dropped.extend(sectors(offset, bytes.len()));
        }
    }
}

impl World {
    /// How often something written was dropped, in all files together.
    fn losses(&self) -> u64 {
        self.inodes.iter().map(|inode| inode.losses).sum()
    }

    /// Whether it is a segment that is not ready yet.
    fn is_being_filled(&self, inode: usize) -> bool {
        let unfinished = |path: &Path| path.to_string_lossy().ends_with(".seg.new");
        let mut names = self.names.iter();
        names.any(|(path, of)| *of == inode && unfinished(path))
    }

    fn give_back(&mut self, inode: Option<usize>) {
        if self.greedy_neighbor {
            return;
        }
        if let (Some(inode), Some(space)) = (inode, &mut self.space) {
            *space += self.inodes[inode].visible.len() as u64;
        }
    }
}

fn sectors(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    offset / 512..(offset + bytes).div_ceil(512)
}
