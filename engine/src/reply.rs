//! The answer to one request, on its way to whoever waits for it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::fault::Fault;
use crate::request::{IssueError, IssueResult};

/// A request in flight. Block on it with [`Pending::wait`], look with [`Pending::poll_result`], or await
/// it. Dropping it does not recall the request: its certificate will be in the log.
///
/// A waker is called on a thread of the engine: it must hand the task on and not run it there, as every
/// common executor does.
#[derive(Debug)]
#[must_use = "the answer comes through this handle"]
pub struct Pending {
    reply: Arc<Reply>,
}

impl Pending {
    pub(crate) fn new() -> (Self, Arc<Reply>) {
        let reply = Arc::new(Reply::default());
        (
            Self {
                reply: reply.clone(),
            },
            reply,
        )
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// The request's rejection, or a fault of the system.
    pub fn wait(self) -> IssueResult {
        let mut state = self.reply.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => return *result,
                State::Taken => return Err(IssueError::Fault(Fault::Closing)),
                State::Waiting { waker, .. } => {
                    *state = State::Waiting {
                        waker,
                        blocked: true,
                    }
                }
            }
            state = self
                .reply
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The answer if it is there; `None` before, and again after it was taken.
    pub fn poll_result(&mut self) -> Option<IssueResult> {
        let mut state = self.reply.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Some(*result),
            other => {
                *state = other;
                None
            }
        }
    }
}

impl Future for Pending {
    type Output = IssueResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.reply.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Poll::Ready(*result),
            State::Taken => Poll::Ready(Err(IssueError::Fault(Fault::Closing))),
            State::Waiting { blocked, .. } => {
                *state = State::Waiting {
                    waker: Some(context.waker().clone()),
                    blocked,
                };
                Poll::Pending
            }
        }
    }
}

/// The engine's side of a [`Pending`].
#[derive(Debug, Default)]
pub(crate) struct Reply {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug)]
enum State {
    /// `blocked` says that a thread sleeps in `wait`: waking nobody would cost a system call for every
    /// certificate.
    Waiting {
        waker: Option<Waker>,
        blocked: bool,
    },
    Done(Box<IssueResult>),
    Taken,
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting {
            waker: None,
            blocked: false,
        }
    }
}

impl Reply {
    /// Delivers the answer.
    pub(crate) fn complete(&self, result: IssueResult) {
        let before = std::mem::replace(&mut *self.lock(), State::Done(Box::new(result)));
        if let State::Waiting { waker, blocked } = before {
            if blocked {
                self.ready.notify_all();
            }
            if let Some(waker) = waker {
                // This may be the log's thread, which must outlive a caller's faulty waker.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
