//! The open loop in virtual time, the closed loop against a stand-in that answers in groups.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Time that moves only when somebody waits for it; answers fall due at fixed moments.
#[derive(Default)]
struct VirtualClock(Mutex<Timeline>);

#[derive(Default)]
struct Timeline {
    now: Duration,
    answers: BTreeMap<(Duration, u64), Option<Waker>>,
}

impl VirtualClock {
    /// Moves on to `time`; wakes what falls due on the way, each at its own moment.
    fn advance(&self, time: Duration) {
        loop {
            let waker = {
                let mut line = self.0.lock().unwrap();
                match line.answers.first_key_value().map(|(key, _)| *key) {
                    Some((at, number)) if at <= time => {
                        line.now = line.now.max(at);
                        line.answers.remove(&(at, number)).flatten()
                    }
                    _ => {
                        line.now = line.now.max(time);
                        return;
                    }
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().now
    }

    fn sleep_until(&self, time: Duration) {
        self.advance(time);
    }

    fn wait_for_completion(&self) {
        let next = self
            .0
            .lock()
            .unwrap()
            .answers
            .first_key_value()
            .map(|(key, _)| key.0);
        self.advance(next.expect("the driver waits for an answer that will never come"));
    }
}

/// One server: each request takes `service`, except that `stalled` takes `stall`. Refuses at
/// `closed_at`.
struct OneServer {
    clock: Arc<VirtualClock>,
    service: Duration,
    stalled: (u64, Duration),
    window: usize,
    closed_at: u64,
    free_at: RefCell<Duration>,
    done: RefCell<VecDeque<Duration>>,
}

struct Answer {
    clock: Arc<VirtualClock>,
    at: Duration,
    number: u64,
}

impl Future for Answer {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let mut line = self.clock.0.lock().unwrap();
        if line.now >= self.at {
            return Poll::Ready(self.number);
        }
        line.answers
            .insert((self.at, self.number), Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Target for OneServer {
    type Handle = Answer;
    type Outcome = u64;
    type Stop = &'static str;

    fn submit_wait(&self, number: u64) -> Result<Answer, &'static str> {
        if number == self.closed_at {
            return Err("closed");
        }
        let mut done = self.done.borrow_mut();
        if done.len() >= self.window {
            let free = done.pop_front().expect("the window is not empty");
            self.clock.advance(free);
        }
        let service = if number == self.stalled.0 {
            self.stalled.1
        } else {
            self.service
        };
        let at = (*self.free_at.borrow()).max(self.clock.now()) + service;
        *self.free_at.borrow_mut() = at;
        done.push_back(at);
        Ok(Answer {
            clock: Arc::clone(&self.clock),
            at,
            number,
        })
    }

    fn try_take(&self, _: &mut Answer) -> Option<u64> {
        unreachable!("the open loop polls")
    }

    fn wait(&self, _: Answer) -> u64 {
        unreachable!("the open loop polls")
    }

    fn window(&self) -> usize {
        self.window
    }
}

fn one_server(window: usize, service: Duration, stalled: (u64, Duration)) -> OneServer {
    OneServer {
        clock: Arc::new(VirtualClock::default()),
        service,
        stalled,
        window,
        closed_at: u64::MAX,
        free_at: RefCell::default(),
        done: RefCell::default(),
    }
}

fn drive_open(target: &OneServer, count: u64, rate: f64) -> (Vec<Duration>, Stretch<&'static str>) {
    let clock: Arc<dyn Clock> = target.clock.clone();
    let mut latencies = Vec::new();
    let stretch = open(
        target,
        0..count,
        rate,
        &clock,
        &mut |number, latency, outcome| {
            assert_eq!(
                (number, outcome),
                (latencies.len() as u64, number),
                "answers keep the order"
            );
            latencies.push(latency);
        },
    );
    (latencies, stretch)
}

#[test]
fn a_stall_shows_in_every_request_that_was_due_meanwhile() {
    // One request per millisecond, served in 0.2 ms; request 10 takes 100 ms. Whatever room the
    // target has, and so whether the driver itself is held up or not, the callers see the same.
    for window in [1, 4, 1000] {
        let server = one_server(window, MS / 5, (10, 100 * MS));
        let (latencies, stretch) = drive_open(&server, 300, 1000.0);
        assert_eq!((stretch.taken, stretch.stop), (300, None));
        // Arithmetic of a queue with one server, done apart from the code under test.
        let mut free = Duration::ZERO;
        for (number, latency) in latencies.iter().enumerate() {
            let due = MS * number as u32;
            let service = if number == 10 { 100 * MS } else { MS / 5 };
            free = free.max(due) + service;
            assert_eq!(*latency, free - due, "window {window}, request {number}");
        }
        let late = latencies.iter().filter(|latency| **latency > MS).count();
        assert!(
            late > 100,
            "window {window}: only {late} requests show the stall"
        );
        assert_eq!(latencies[10], 100 * MS);
        assert_eq!(stretch.elapsed, 299 * MS + MS / 5);
    }
}

#[test]
fn more_load_than_capacity_shows_as_growing_latency() {
    let server = one_server(8, 2 * MS, (u64::MAX, MS));
    let (latencies, stretch) = drive_open(&server, 500, 1000.0);
    // Served every 2 ms, due every 1 ms: each waits 1 ms longer than the one before.
    for (number, latency) in latencies.iter().enumerate() {
        assert_eq!(*latency, 2 * MS + MS * number as u32);
    }
    assert_eq!(stretch.elapsed, 1000 * MS);
}

#[test]
fn a_target_that_stops_still_answers_what_it_took() {
    let mut server = one_server(4, 3 * MS, (u64::MAX, MS));
    server.closed_at = 20;
    let (latencies, stretch) = drive_open(&server, 50, 1000.0);
    assert_eq!(latencies.len(), 20);
    assert_eq!((stretch.taken, stretch.stop), (20, Some("closed")));
}

/// Answers `group` requests at a time, when the last of a group is handed in or waited for.
struct Grouped {
    window: usize,
    group: u64,
    state: RefCell<(u64, u64, usize)>, // answered before, handed in, most in flight
    closed_at: u64,
}

impl Target for Grouped {
    type Handle = std::future::Ready<u64>;
    type Outcome = u64;
    type Stop = ();

    fn submit_wait(&self, number: u64) -> Result<Self::Handle, ()> {
        if number == self.closed_at {
            return Err(());
        }
        let mut state = self.state.borrow_mut();
        state.1 = number + 1;
        state.2 = state.2.max((state.1 - state.0) as usize);
        Ok(std::future::ready(number))
    }

    fn try_take(&self, handle: &mut Self::Handle) -> Option<u64> {
        let number = handle.clone().into_inner();
        (number < self.state.borrow().0).then_some(number)
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        let number = handle.into_inner();
        let mut state = self.state.borrow_mut();
        let group_end = (number / self.group + 1) * self.group;
        state.0 = state.0.max(group_end.min(state.1));
        number
    }

    fn window(&self) -> usize {
        self.window
    }
}

#[test]
fn the_closed_loop_keeps_the_window_full_and_drains_in_order() {
    for (window, group, count) in [(1, 1, 10), (64, 16, 1000), (64, 1, 200), (8, 100, 500)] {
        let target = Grouped {
            window,
            group,
            state: RefCell::default(),
            closed_at: u64::MAX,
        };
        let mut answered = Vec::new();
        let stretch = closed(&target, 5..5 + count, &mut |number, _, outcome| {
            assert_eq!(number, outcome);
            answered.push(number);
        });
        assert_eq!(stretch.taken, count);
        assert_eq!(answered, (5..5 + count).collect::<Vec<_>>());
        // The first answers come when the window is full, so it was full and never fuller.
        let most = target.state.borrow().2;
        assert!(most >= window && most <= window + 5, "{most} of {window}");
    }
}

#[test]
fn the_closed_loop_answers_what_was_taken_before_a_stop() {
    let target = Grouped {
        window: 8,
        group: 4,
        state: RefCell::default(),
        closed_at: 30,
    };
    let mut answered = 0;
    let stretch = closed(&target, 0..100, &mut |_, _, _| answered += 1);
    assert_eq!((stretch.taken, stretch.stop, answered), (30, Some(()), 30));
}
