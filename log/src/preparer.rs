//! The thread that fills segment files before they are needed, so that the log never waits.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::queue::{Queue, Submission};
use crate::segment::{segment_name, segments_dir};
use crate::storage::{self, Storage, StorageFile};
use crate::writer::SPARES_KEPT;

/// A segment file that is filled and not in use yet.
pub(crate) struct Spare {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) file: Arc<dyn StorageFile>,
}

/// What came of a request.
pub(crate) enum Prepared {
    Ready(Spare),
    /// There is no space, and it is being tried again; [`Prepared::Ready`] follows when it works.
    Failed {
        reason: Arc<str>,
    },
    /// It failed in a way that only a restart can clear up.
    Broken(storage::PathError),
}

/// What the preparer works with.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) storage: Arc<dyn Storage>,
    /// The log's directory.
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) retry_after: Duration,
    pub(crate) recycler: Arc<Recycler>,
}

/// Segment files that were given up and can be used again, all of the size in use.
#[derive(Default)]
pub(crate) struct Recycler {
    files: Mutex<Vec<PathBuf>>,
}

/// Files kept for another use: as many as are prepared ahead.
const RECYCLED_MAX: usize = SPARES_KEPT;

impl Recycler {
    /// Takes a file over, unless there are enough.
    pub(crate) fn offer(&self, path: PathBuf) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = files.len() < RECYCLED_MAX;
        if wanted {
            files.push(path);
        }
        wanted
    }

    fn take(&self) -> Option<PathBuf> {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }
}

impl Workshop {
    pub(crate) fn segments_dir(&self) -> PathBuf {
        segments_dir(&self.dir)
    }

    /// Prepares one file.
    pub(crate) fn prepare(
        &self,
        number: u64,
        stop: &AtomicBool,
    ) -> Result<Spare, storage::PathError> {
        let path = self.segments_dir().join(segment_name(number));
        let file = match self.recycler.take() {
            Some(old) => storage::recycle_segment(&*self.storage, &old, &path)?,
            None => storage::prepare_segment(&*self.storage, &path, self.segment_bytes, stop)?,
        };
        Ok(Spare {
            number,
            bytes: self.segment_bytes,
            file,
        })
    }
}

/// The thread. Owned by the log thread; dropping it stops and joins it.
pub(crate) struct Preparer {
    requests: Option<Sender<u64>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    /// Starts the thread; it answers into `queue`.
    pub(crate) fn start(workshop: Workshop, queue: Arc<Queue>) -> io::Result<Preparer> {
        // One request is under way at a time, so a send never blocks.
        let (requests, receiver) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("log-prepare".to_owned())
            .spawn(move || run(&workshop, &receiver, &queue, &stopped))?;
        Ok(Preparer {
            requests: Some(requests),
            stop,
            thread: Some(thread),
        })
    }

    /// Asks for a segment file. Only one request may be unanswered.
    pub(crate) fn request(&self, number: u64) {
        if let Some(requests) = &self.requests {
            // It fails only when the thread is gone, and then no answer comes: reservations that
            // need the room wait until the log is closed.
            let _ = requests.send(number);
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook; nothing is lost by it.
            let _ = thread.join();
        }
    }
}

fn run(workshop: &Workshop, requests: &Receiver<u64>, queue: &Queue, stop: &AtomicBool) {
    while let Ok(number) = requests.recv() {
        let mut reported = false;
        loop {
            match workshop.prepare(number, stop) {
                Ok(spare) => {
                    let answer = Submission::Segment(Prepared::Ready(spare));
                    if queue.send(answer, 0).is_err() {
                        return;
                    }
                    break;
                }
                Err(_) if stop.load(Ordering::Relaxed) => return,
                // After a failed sync nobody knows which names the disk has; records in a file
                // without a name would be lost.
                Err(error) if !storage::is_full(&error.source) => {
                    let answer = Submission::Segment(Prepared::Broken(error));
                    // It fails only when the log thread has ended before.
                    let _ = queue.send(answer, 0);
                    return;
                }
                Err(error) if !reported => {
                    let reason = format!("{}: {}", error.path.display(), error.source).into();
                    let answer = Submission::Segment(Prepared::Failed { reason });
                    if queue.send(answer, 0).is_err() {
                        return;
                    }
                    reported = true;
                }
                Err(_) => {}
            }
            // Nothing is sent while a request is unanswered; only the end of the log wakes this.
            let RecvTimeoutError::Timeout = requests
                .recv_timeout(workshop.retry_after)
                .err()
                .unwrap_or(RecvTimeoutError::Disconnected)
            else {
                return;
            };
        }
    }
}
