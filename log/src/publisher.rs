//! The thread that publishes: about once a second while there is something new, when asked, and at
//! the end. Release never waits for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::integrate::{IntegrateError, Integrator};
use crate::preparer::Workshop;
use crate::segment::segment_name;
use crate::state::State;
use crate::storage::{PathError, at, is_full};
use crate::tlog::CheckpointSigner;

/// Shortest wait between two rounds, however short the interval that was asked for: a round that
/// fails must not turn into a busy loop.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Everything that the thread needs.
pub(crate) struct PublisherParts {
    pub(crate) state: Arc<State>,
    pub(crate) workshop: Workshop,
    pub(crate) signer: Arc<dyn CheckpointSigner>,
    pub(crate) interval: Duration,
}

/// The thread. Dropping it ends it without a last checkpoint.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    wishes: Mutex<Wishes>,
    changed: Condvar,
}

#[derive(Default)]
struct Wishes {
    /// Rounds asked for, and how many of these are done.
    asked: u64,
    done: u64,
    /// Publish what there is, then end.
    close: bool,
    /// End at once.
    stop: bool,
    ended: bool,
}

impl Publisher {
    pub(crate) fn start(parts: PublisherParts, integrator: Integrator) -> io::Result<Publisher> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("log-publish".to_owned())
            .spawn(move || {
                let _guard = EndGuard {
                    shared: Arc::clone(&of_thread),
                    state: Arc::clone(&parts.state),
                };
                run(&parts, integrator, &of_thread);
            })?;
        Ok(Publisher {
            shared,
            thread: Some(thread),
        })
    }

    /// Publishes what is durable now, and waits until that is done or has failed.
    pub(crate) fn publish_now(&self) {
        let mut wishes = self.shared.lock();
        wishes.asked += 1;
        let mine = wishes.asked;
        self.shared.changed.notify_all();
        while wishes.done < mine && !wishes.ended {
            wishes = self
                .shared
                .changed
                .wait(wishes)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes what is durable, and ends the thread.
    pub(crate) fn close(mut self) {
        self.shared.lock().close = true;
        self.join();
    }

    fn join(&mut self) {
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has poisoned the log and is reported as that.
            let _ = thread.join();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.join();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do next.
enum Next {
    /// Publish; so many rounds had been asked for.
    Publish(u64),
    /// Publish and end.
    Close,
    Stop,
}

fn run(parts: &PublisherParts, integrator: Integrator, shared: &Shared) {
    let mut integrator = Some(integrator);
    loop {
        let next = wait(parts, shared);
        if let Next::Stop = next {
            return;
        }
        // Asked before the length is read: what was durable then gets published.
        let goal = parts.state.records.len();
        integrator = publish_up_to(parts, integrator, goal);
        match next {
            Next::Publish(asked) => {
                shared.lock().done = asked;
                shared.changed.notify_all();
            }
            Next::Close | Next::Stop => return,
        }
    }
}

fn wait(parts: &PublisherParts, shared: &Shared) -> Next {
    let wait = parts.interval.max(WAIT_MIN);
    let mut wishes = shared.lock();
    loop {
        if wishes.stop {
            return Next::Stop;
        }
        if wishes.close {
            return Next::Close;
        }
        if wishes.asked > wishes.done {
            return Next::Publish(wishes.asked);
        }
        let (woken, timeout) = shared
            .changed
            .wait_timeout(wishes, wait)
            .unwrap_or_else(PoisonError::into_inner);
        wishes = woken;
        let news =
            parts.state.records.len() > parts.state.records.source.locations.published.size();
        if timeout.timed_out() && news {
            return Next::Publish(wishes.asked);
        }
    }
}

/// Publishes what is committed up to `goal`. Gives the integrator back unless it failed; then the
/// next round loads a new one.
fn publish_up_to(
    parts: &PublisherParts,
    integrator: Option<Integrator>,
    goal: u64,
) -> Option<Integrator> {
    if parts.state.status().is_err() {
        return None;
    }
    let published = &parts.state.records.source.locations.published;
    let loaded = match integrator {
        Some(integrator) => Ok(integrator),
        None => Integrator::load(
            Arc::clone(&parts.workshop.storage),
            &parts.workshop.dir,
            Arc::clone(&parts.signer),
            published,
        ),
    };
    let rounds = loaded.and_then(|mut integrator| {
        // What a round before did not come to, for want of space.
        give_up(parts, &mut integrator)?;
        while integrator.size() < goal {
            let checkpoint = integrator.publish(goal)?;
            published.set_size(integrator.size());
            parts.state.set_checkpoint(checkpoint);
            give_up(parts, &mut integrator)?;
        }
        Ok(integrator)
    });
    match rounds {
        Ok(integrator) => {
            parts.state.set_publish_failure(None);
            Some(integrator)
        }
        Err(error) => {
            failed(&parts.state, error);
            None
        }
    }
}

/// Gives up the partial files and segments that the standing checkpoint makes needless.
fn give_up(parts: &PublisherParts, integrator: &mut Integrator) -> Result<(), IntegrateError> {
    integrator.remove_partials()?;
    match integrator.raise_floor()? {
        Some((old, floor)) => give_up_segments(parts, old, floor),
        None => Ok(()),
    }
}

/// Segments `old` to `floor` hold nothing that is needed. They become the next ones, or go.
fn give_up_segments(parts: &PublisherParts, old: u64, floor: u64) -> Result<(), IntegrateError> {
    // First: then nobody begins to read in them, and whoever does so now looks again afterwards.
    parts.state.records.source.locations.retire_before(floor);
    let workshop = &parts.workshop;
    for number in old..floor {
        let path = workshop.segments_dir().join(segment_name(number));
        let size = workshop
            .storage
            .open(&path, false)
            .and_then(|file| file.size());
        let size = size.map_err(at(&path))?;
        if size != workshop.segment_bytes || !workshop.recycler.offer(path.clone()) {
            workshop.storage.remove(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Want of space passes, and so does a signer's failure. Anything else means that nobody knows
/// what the disk holds.
fn failed(state: &State, error: IntegrateError) {
    match error {
        IntegrateError::Storage(PathError { path, source }) => {
            let text = format!("{}: {source}", path.display());
            if is_full(&source) {
                state.set_publish_failure(Some(text.into()));
            } else {
                state.poison("publishing the log", io::Error::new(source.kind(), text));
            }
        }
        IntegrateError::Corrupt(corruption) => {
            state.poison("publishing the log", io::Error::other(corruption));
        }
        IntegrateError::Sign(error) => {
            let text = format!("the checkpoint cannot be signed: {error}");
            state.set_publish_failure(Some(text.into()));
        }
    }
}

/// Tells those who wait that nothing more comes, also after a panic.
struct EndGuard {
    shared: Arc<Shared>,
    state: Arc<State>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            let cause = io::Error::other("a panic in the checkpoint signer");
            self.state.poison("publishing the log", cause);
        }
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}
