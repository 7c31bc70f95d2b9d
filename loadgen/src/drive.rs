//! Driving a target from one thread: closed loop for capacity, open loop for latency.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Handles kept in the open loop, as a multiple of the target's window. At most one window is
/// unanswered; the others were answered behind a slower one and wait for their turn. Past this
/// the driver waits for the oldest, and the latencies of what is due meanwhile grow, as they
/// should.
const HANDLES_PER_WINDOW: usize = 4;

/// What is driven: the engine, or a test's stand-in.
pub(crate) trait Target {
    /// A request in flight.
    type Handle: Future<Output = Self::Outcome> + Unpin;
    /// What a request comes to.
    type Outcome;
    /// Why the target takes no more.
    type Stop;

    /// Hands in request `number`; blocks while the target is full.
    fn submit_wait(&self, number: u64) -> Result<Self::Handle, Self::Stop>;
    /// The outcome, if it is there. Called again only after none.
    fn try_take(&self, handle: &mut Self::Handle) -> Option<Self::Outcome>;
    /// Blocks until the outcome is there.
    fn wait(&self, handle: Self::Handle) -> Self::Outcome;
    /// How many requests fit into the target at once.
    fn window(&self) -> usize;
}

/// What came of one stretch of driving.
#[derive(Debug)]
pub(crate) struct Stretch<S> {
    /// Requests that the target took. All of them were answered.
    pub(crate) taken: u64,
    /// From the first submission to the last answer.
    pub(crate) elapsed: Duration,
    /// Set when the target stopped before the end.
    pub(crate) stop: Option<S>,
}

/// Called with number, latency and outcome of each request, in order of the numbers.
pub(crate) type Sink<'a, O> = dyn FnMut(u64, Duration, O) + 'a;

/// Closed loop: keeps the target full and drains it at the end, so that everything the work
/// cost falls between first submission and last answer.
///
/// When the window is full the driver waits for the oldest request. Answers come in groups (one
/// per sync), so it wakes once per group, takes what is there and refills: it costs little of
/// the cores it measures. Latency is from submission until the driver sees the answer in its
/// turn, so never less than what a caller would see.
pub(crate) fn closed<T: Target>(
    target: &T,
    numbers: Range<u64>,
    sink: &mut Sink<'_, T::Outcome>,
) -> Stretch<T::Stop> {
    let window = target.window().max(1);
    let mut in_flight: VecDeque<(u64, Instant, T::Handle)> = VecDeque::with_capacity(window);
    let begin = Instant::now();
    let (mut taken, mut stop) = (0, None);
    for number in numbers {
        if in_flight.len() >= window
            && let Some((number, submitted, handle)) = in_flight.pop_front()
        {
            let outcome = target.wait(handle);
            sink(number, submitted.elapsed(), outcome);
            while let Some((number, submitted, handle)) = in_flight.front_mut()
                && let Some(outcome) = target.try_take(handle)
            {
                sink(*number, submitted.elapsed(), outcome);
                in_flight.pop_front();
            }
        }
        let submitted = Instant::now();
        match target.submit_wait(number) {
            Ok(handle) => in_flight.push_back((number, submitted, handle)),
            Err(reason) => {
                stop = Some(reason);
                break;
            }
        }
        taken += 1;
    }
    for (number, submitted, handle) in in_flight {
        let outcome = target.wait(handle);
        sink(number, submitted.elapsed(), outcome);
    }
    Stretch {
        taken,
        elapsed: begin.elapsed(),
        stop,
    }
}

/// Time as the open loop sees it: the machine's, or a test's.
pub(crate) trait Clock: Send + Sync {
    /// Since some fixed moment.
    fn now(&self) -> Duration;
    /// Returns at `time` or a little later.
    fn sleep_until(&self, time: Duration);
    /// Returns when a completion has come since the last call, or without reason.
    fn wait_for_completion(&self);
}

/// The machine's monotonic clock.
pub(crate) struct MonotonicClock(Instant);

impl MonotonicClock {
    pub(crate) fn start() -> MonotonicClock {
        MonotonicClock(Instant::now())
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// Never spins: a spinning driver would take a core from what it measures. What the kernel
    /// oversleeps (about 50 µs) counts as latency.
    fn sleep_until(&self, time: Duration) {
        if let Some(left) = time.checked_sub(self.now()) {
            thread::sleep(left);
        }
    }

    fn wait_for_completion(&self) {
        thread::park();
    }
}

/// Open loop: request k is due at k / rate, whatever the target does. When the target is full
/// the driver waits and the requests that fall due meanwhile are handed in as soon as possible;
/// each latency counts from the moment the request was due until the target said it was done.
/// So a stall shows in every request that a real caller would have seen stalled (no coordinated
/// omission).
pub(crate) fn open<T: Target>(
    target: &T,
    numbers: Range<u64>,
    rate_per_second: f64,
    clock: &Arc<dyn Clock>,
    sink: &mut Sink<'_, T::Outcome>,
) -> Stretch<T::Stop> {
    let handles_max = target.window().max(1).saturating_mul(HANDLES_PER_WINDOW);
    let mut in_flight: VecDeque<Scheduled<T>> = VecDeque::new();
    let begin = clock.now();
    let (mut taken, mut stop) = (0_u64, None);
    for number in numbers {
        let due = begin + Duration::from_secs_f64(taken as f64 / rate_per_second);
        while in_flight.front_mut().is_some_and(|oldest| oldest.is_done())
            || in_flight.len() >= handles_max
        {
            finish_oldest(&mut in_flight, clock, sink);
        }
        if clock.now() < due {
            clock.sleep_until(due);
        }
        match target.submit_wait(number) {
            Ok(handle) => in_flight.push_back(Scheduled::new(number, due, handle, clock)),
            Err(reason) => {
                stop = Some(reason);
                break;
            }
        }
        taken += 1;
    }
    while !in_flight.is_empty() {
        finish_oldest(&mut in_flight, clock, sink);
    }
    Stretch {
        taken,
        elapsed: clock.now().saturating_sub(begin),
        stop,
    }
}

/// A request in flight in the open loop.
struct Scheduled<T: Target> {
    number: u64,
    due: Duration,
    handle: T::Handle,
    completion: Arc<Completion>,
    waker: Waker,
    answer: Option<(Duration, T::Outcome)>,
}

impl<T: Target> Scheduled<T> {
    fn new(number: u64, due: Duration, handle: T::Handle, clock: &Arc<dyn Clock>) -> Self {
        let completion = Arc::new(Completion {
            at_ns: AtomicU64::new(NOT_DONE),
            clock: Arc::clone(clock),
            driver: thread::current(),
        });
        let waker = Waker::from(Arc::clone(&completion));
        let mut scheduled = Scheduled {
            number,
            due,
            handle,
            completion,
            waker,
            answer: None,
        };
        // The first poll tells the target whom to wake. An answer that is there already
        // finished just now at the latest.
        if let Poll::Ready(outcome) = scheduled.poll() {
            scheduled.answer = Some((clock.now(), outcome));
        }
        scheduled
    }

    fn poll(&mut self) -> Poll<T::Outcome> {
        Pin::new(&mut self.handle).poll(&mut Context::from_waker(&self.waker))
    }

    /// Looks at the completion alone, so that asking costs one load.
    fn is_done(&mut self) -> bool {
        if self.answer.is_none() && self.completion.at_ns.load(Ordering::Acquire) != NOT_DONE {
            let at = self.completion.at_ns.swap(NOT_DONE, Ordering::AcqRel);
            if let Poll::Ready(outcome) = self.poll() {
                self.answer = Some((Duration::from_nanos(at), outcome));
            }
        }
        self.answer.is_some()
    }
}

fn finish_oldest<T: Target>(
    in_flight: &mut VecDeque<Scheduled<T>>,
    clock: &Arc<dyn Clock>,
    sink: &mut Sink<'_, T::Outcome>,
) {
    let Some(mut oldest) = in_flight.pop_front() else {
        return;
    };
    while !oldest.is_done() {
        clock.wait_for_completion();
    }
    if let Some((at, outcome)) = oldest.answer {
        sink(oldest.number, at.saturating_sub(oldest.due), outcome);
    }
}

/// No real completion has this time: it is 584 years after the start.
const NOT_DONE: u64 = u64::MAX;

/// Takes the time on the thread that completes the request, so that neither the order of
/// draining nor the driver's own sleep blurs it.
struct Completion {
    at_ns: AtomicU64,
    clock: Arc<dyn Clock>,
    driver: Thread,
}

impl Wake for Completion {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = u64::try_from(self.clock.now().as_nanos()).unwrap_or(NOT_DONE - 1);
        // The first wake counts.
        let _earlier =
            self.at_ns
                .compare_exchange(NOT_DONE, now, Ordering::AcqRel, Ordering::Acquire);
        self.driver.unpark();
    }
}

#[cfg(test)]
mod tests;
