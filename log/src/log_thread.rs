//! The log thread: waits for work, decides when to sync, hands the answers out.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::commit::CommitSink;
use crate::committer::Committer;
use crate::error::AppendError;
use crate::preparer::{Prepared, Preparer};
use crate::queue::{Queue, Submission, enough};
use crate::state::{State, count};
use crate::storage::PathError;
use crate::waiting::Backlog;

/// When to sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncRule {
    /// As soon as so many items wait, or [`enough`] of a full pipeline.
    pub(crate) records_max: usize,
    /// As soon as the oldest has waited so long, or longer by the factor by which a batch is larger.
    pub(crate) wait_max: Duration,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// Unless more comes before.
    After(Duration),
    /// Nothing waits.
    Never,
}

impl SyncRule {
    fn due(&self, backlog: &Backlog, in_flight: usize, now: Instant) -> Due {
        let Some(oldest) = backlog.oldest else {
            return Due::Never;
        };
        let enough = enough(self.records_max, in_flight);
        // `all` here and not `ready`, as for the wake-ups (`Queue`).
        if backlog.all >= in_flight || backlog.all >= enough {
            return Due::Now;
        }
        let factor = (enough / self.records_max.max(1)).max(1);
        let wait_max = self
            .wait_max
            .saturating_mul(u32::try_from(factor).unwrap_or(u32::MAX));
        match wait_max.checked_sub(now.saturating_duration_since(oldest)) {
            Some(left) if !left.is_zero() => Due::After(left),
            _ => Due::Now,
        }
    }
}

/// Everything the log thread owns.
pub(crate) struct LogThread {
    pub(crate) committer: Committer,
    pub(crate) state: Arc<State>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) receiver: Receiver<Submission>,
    pub(crate) sink: Arc<dyn CommitSink>,
    pub(crate) preparer: Preparer,
    pub(crate) rule: SyncRule,
    /// The preparer owes an answer.
    pub(crate) preparing: bool,
}

impl LogThread {
    /// Runs until the log is closed. `Err` when it could not be closed cleanly.
    pub(crate) fn run(mut self) -> Result<(), AppendError> {
        let _guard = PanicGuard {
            state: Arc::clone(&self.state),
        };
        self.queue.enter_log_thread();
        while self.receive() {
            self.request_segment();
            let now = Instant::now();
            match self
                .rule
                .due(&self.committer.backlog(), self.queue.in_flight.get(), now)
            {
                Due::Now => while self.flush() {},
                Due::After(longest) => self.sleep(|this| this.queue.sleep_gathering(longest)),
                Due::Never => self.sleep(|this| this.queue.sleep_idle(&this.receiver)),
            }
        }
        while self.committer.backlog().ready > 0 {
            self.flush();
        }
        self.committer.refuse_all(&AppendError::Closing);
        self.deliver();
        self.committer.mark_closed()
    }

    /// Takes everything that was sent. `false` when the log is to be closed.
    fn receive(&mut self) -> bool {
        // One reading of the time serves for all that came together.
        let now = Instant::now();
        while let Ok(submission) = self.receiver.try_recv() {
            match submission {
                Submission::Reserve(chunk) => self.committer.enqueue_reservations(chunk, now),
                Submission::Append(chunk) => self.committer.enqueue_appends(chunk, now),
                Submission::Segment(Prepared::Ready(spare)) => {
                    self.preparing = false;
                    self.committer.add_spare(spare);
                }
                Submission::Segment(Prepared::Broken(PathError { path, source })) => {
                    let cause = format!("{}: {source}", path.display());
                    let cause = io::Error::new(source.kind(), cause);
                    let error = self.state.poison("preparing a segment", cause);
                    self.committer.refuse_all(&error);
                    self.deliver();
                }
                Submission::Segment(Prepared::Failed { reason }) => {
                    self.committer.space_failed(reason);
                }
                Submission::Close => return false,
            }
        }
        true
    }

    fn flush(&mut self) -> bool {
        let more = self.committer.flush();
        self.request_segment();
        self.deliver();
        more
    }

    fn deliver(&mut self) {
        let commits = self.committer.commits();
        if commits.is_empty() {
            return;
        }
        // Before the sink: the answered items leave the count before their owners send more.
        self.queue.answered(commits.len());
        self.sink.committed(commits);
        commits.clear();
    }

    fn request_segment(&mut self) {
        if self.preparing {
            return;
        }
        if let Some(number) = self.committer.wanted_spare() {
            self.preparer.request(number);
            self.preparing = true;
        }
    }

    fn sleep(&self, sleep: impl FnOnce(&LogThread)) {
        sleep(self);
        count(&self.state.counters.wakeups, 1);
    }
}

/// Poisons the log when its thread panics (in the sink or the extractor): then nothing is
/// answered any more, and everybody must know.
struct PanicGuard {
    state: Arc<State>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            let cause = io::Error::other("a panic in the commit sink or the key extractor");
            let _ = self.state.poison("the log thread", cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SyncRule = SyncRule {
        records_max: 128,
        wait_max: Duration::from_millis(4),
    };

    fn due(ready: usize, all: usize, waited_us: u64, in_flight: usize) -> Due {
        let start = Instant::now();
        let oldest = (ready > 0).then_some(start);
        let now = start + Duration::from_micros(waited_us);
        RULE.due(&Backlog { ready, all, oldest }, in_flight, now)
    }

    #[test]
    fn syncs_when_full_or_old_or_alone() {
        assert_eq!(due(0, 0, 0, 0), Due::Never);
        assert_eq!(due(0, 0, 0, 500), Due::Never);
        assert_eq!(due(1, 1, 0, 1), Due::Now, "everything in flight waits");
        assert_eq!(due(1, 1, 0, 0), Due::Now, "a caller without a gauge");
        assert_eq!(due(127, 127, 0, 500), Due::After(Duration::from_millis(4)));
        assert_eq!(due(128, 128, 0, 500), Due::Now, "a full batch");
        assert_eq!(due(1, 1, 3999, 500), Due::After(Duration::from_micros(1)));
        assert_eq!(due(1, 1, 4000, 500), Due::Now, "old enough");
    }

    #[test]
    fn a_full_pipeline_makes_larger_batches() {
        assert_eq!(enough(128, 0), 128);
        assert_eq!(enough(128, 512), 128);
        assert_eq!(enough(128, 1024), 256);
        assert_eq!(enough(128, usize::MAX), 512);
        assert_eq!(
            due(255, 255, 7999, 1024),
            Due::After(Duration::from_micros(1))
        );
        assert_eq!(due(255, 255, 8000, 1024), Due::Now, "old enough");
        assert_eq!(due(256, 256, 0, 1024), Due::Now, "a full batch");
    }

    #[test]
    fn what_waits_for_a_segment_is_not_due_but_holds_nobody_up() {
        assert_eq!(due(0, 300, 9000, 300), Due::Never);
        assert_eq!(due(100, 300, 0, 300), Due::Now);
    }
}
