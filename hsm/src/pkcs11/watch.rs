//! The watch of a pool: gives calls up that hang, answers jobs that no token takes, and closes.
//!
//! It never calls a module, so that nothing can hold it up.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::shared::{self, Shared};
use crate::error::{CloseError, SignError};
use crate::event::TokenState;

/// Limits are kept to a quarter, and looked after at least this often while there is work.
const TICK_MAX: Duration = Duration::from_millis(100);

/// How often an idle pool is looked after: its keepers may hang too.
const IDLE_TICK_MAX: Duration = Duration::from_secs(1);

const TICK_MIN: Duration = Duration::from_millis(5);

/// A keeper's thread.
type Keeper = JoinHandle<Result<(), CloseError>>;

/// The life of the watch's thread.
pub(super) fn run(shared: &Arc<Shared>, keepers: Vec<Keeper>) -> Result<(), CloseError> {
    shared::enter_thread(shared);
    let quarter = shared.options.call_limit.min(shared.options.wait_limit) / 4;
    let mut all_down_since = None;
    loop {
        let drained = shared.is_drained();
        if shared.is_closing() && drained {
            break;
        }
        let most = match (shared.is_closing(), drained) {
            // Somebody waits for the end.
            (true, _) => TICK_MIN,
            (false, true) => IDLE_TICK_MAX,
            (false, false) => TICK_MAX,
        };
        shared.watch.wait(quarter.clamp(TICK_MIN, most));
        give_up_calls(shared);
        answer_the_waiting(shared, &mut all_down_since);
    }
    shared.end();
    finish(shared, keepers)
}

fn give_up_calls(shared: &Shared) {
    let limit = u64::try_from(shared.options.call_limit.as_micros()).unwrap_or(u64::MAX);
    let Some(before) = shared.now_us().checked_sub(limit) else {
        return;
    };
    for member in &shared.members {
        for job in member.give_up_calls(shared, before) {
            if job.attempts < shared.attempts_max {
                shared.put_back(job);
            } else {
                let error = SignError::Hung {
                    token: member.label(),
                    limit: shared.options.call_limit,
                };
                shared.answer(job, Err(error));
            }
        }
    }
}

/// While every token is down, jobs wait in the channel. The limit counts from when a job came or
/// from when the last token went down, whichever is later: a backlog is not punished.
fn answer_the_waiting(shared: &Shared, all_down_since: &mut Option<u64>) {
    let up = |state: TokenState| state == TokenState::Up;
    if shared.members.iter().any(|member| up(member.state())) {
        *all_down_since = None;
        return;
    }
    let now = shared.now_us();
    let down_since = *all_down_since.get_or_insert(now);
    let limit = u64::try_from(shared.options.wait_limit.as_micros()).unwrap_or(u64::MAX);
    let for_good = shared.stopped_for_good();
    for _ in 0..shared.queue.len() {
        let Ok(job) = shared.queue.try_recv() else {
            return;
        };
        let waited = now.saturating_sub(job.since_us.max(down_since));
        if let Some(error) = &for_good {
            shared.answer(job, Err(error.clone()));
        } else if waited >= limit || shared.is_closing() {
            shared.counters.waited_out();
            let error = shared.tokens_down(waited, false);
            shared.answer(job, Err(error));
        } else {
            shared.put_back(job);
        }
    }
}

/// Waits for the keepers, but for none whose call hangs.
fn finish(shared: &Arc<Shared>, keepers: Vec<Keeper>) -> Result<(), CloseError> {
    let limit = shared.options.call_limit;
    // A keeper waits for its sessions' last calls, then makes its own.
    let deadline = Instant::now() + limit * 3 + IDLE_TICK_MAX;
    let gone = |place: usize, keeper: &Keeper| {
        keeper.is_finished() || shared.members[place].keeper.is_given_up()
    };
    let all_gone = || {
        keepers
            .iter()
            .enumerate()
            .all(|(place, keeper)| gone(place, keeper))
    };
    let mut tick = Duration::from_micros(200);
    while !all_gone() && Instant::now() < deadline {
        shared.watch.wait(tick);
        tick = (tick * 2).min((limit / 4).clamp(TICK_MIN, TICK_MAX));
        give_up_calls(shared);
    }
    let (mut panicked, mut unfinished, mut closed) = (shared.sessions_panicked(), 0, Ok(()));
    for keeper in keepers {
        if !keeper.is_finished() {
            unfinished += 1;
            continue;
        }
        match keeper.join() {
            Ok(ended) => closed = closed.and(ended),
            Err(_) => panicked += 1,
        }
    }
    let inside: usize = shared.members.iter().map(|member| member.inside()).sum();
    let count = inside.max(unfinished);
    if panicked > 0 {
        Err(CloseError::Panicked { count: panicked })
    } else if count > 0 {
        Err(CloseError::Inside { count })
    } else {
        closed
    }
}
