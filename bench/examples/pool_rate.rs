//! The rate of the signing pool alone.
//!
//! `cargo run --release -p birthmark-bench --example pool_rate -- [SECONDS]`
//!
//! On the test token with signatures made beforehand, latency L and S sessions: against
//! min(S / L, cap), where L is the mean that the token really had.
//!
//! `softhsm/with-softhsm.sh cargo run --release -p birthmark-bench --example pool_rate -- SECONDS URI [SESSIONS]`
//!
//! On a real token: against loops of C_SignInit and C_Sign on as many threads, in alternating slices.

// A measurement fails by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use birthmark_hsm::{
    Pkcs11Options, SignCompletion, SignError, SignInput, SignJob, Signature, SigningPool,
};
use birthmark_test_token::TestHsm;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LATENCIES_US: [u32; 3] = [200, 1000, 5000];
const SESSIONS: [usize; 3] = [8, 32, 128];
const RATE_CAP: u32 = 20_000;

/// Alternating slices of a comparison.
const SLICES: usize = 7;

/// Longest wait for a signature.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Before a rate is read.
const SETTLE: Duration = Duration::from_millis(100);

/// Jobs in flight for each session: one that is signed, one that waits.
const JOBS_PER_SESSION: usize = 4;

/// Each answer asks for the next signature at once, on the session's thread: so the pool is
/// measured and no thread that drives it.
struct Done {
    pool: Arc<SigningPool>,
    input: SignInput,
    count: AtomicU64,
    stop: AtomicBool,
    ended: Sender<()>,
    itself: Weak<Done>,
}

impl Done {
    fn submit(&self, ticket: u64) {
        let Some(completion) = self.itself.upgrade() else {
            return;
        };
        let input = self.input.clone();
        self.pool.submit(SignJob {
            ticket,
            input,
            completion,
        });
    }
}

impl SignCompletion for Done {
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
        outcome.unwrap();
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) {
            let _ = self.ended.send(());
        } else {
            self.submit(ticket);
        }
    }
}

/// A pool kept busy by a closed loop.
struct Drive {
    pool: Arc<SigningPool>,
    input: SignInput,
}

impl Drive {
    fn new(uri: &str, sessions: usize) -> Drive {
        let options = Pkcs11Options {
            sessions: Some(sessions),
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&uri.parse().unwrap(), options).unwrap();
        let input = pool.input_for(b"a rate is measured here");
        let pool = Arc::new(pool);
        Drive { pool, input }
    }

    /// Signatures per second over this time. The pool is empty before and after.
    fn rate(&self, sessions: usize, time: Duration) -> f64 {
        let jobs = JOBS_PER_SESSION * sessions;
        let (ended, ends) = channel();
        let done = Arc::new_cyclic(|itself| Done {
            pool: Arc::clone(&self.pool),
            input: self.input.clone(),
            count: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            ended,
            itself: Weak::clone(itself),
        });
        (0..jobs as u64).for_each(|ticket| done.submit(ticket));
        // The first rounds fill every session.
        std::thread::sleep(SETTLE);
        let (begin, before) = (Instant::now(), done.count.load(Ordering::Relaxed));
        std::thread::sleep(time);
        let signed = done.count.load(Ordering::Relaxed) - before;
        let rate = signed as f64 / begin.elapsed().as_secs_f64();
        done.stop.store(true, Ordering::Relaxed);
        for _ in 0..jobs {
            ends.recv_timeout(ANSWER_MAX).unwrap();
        }
        rate
    }

    /// The same with bare loops on threads of their own.
    fn raw_rate(&self, sessions: usize, time: Duration) -> f64 {
        let stop = AtomicBool::new(false);
        let signers = self.pool.raw_signers(sessions).unwrap();
        let input = &self.input;
        let (begin, mut signed) = (Instant::now(), 0);
        std::thread::scope(|scope| {
            let sign = |mut signer: birthmark_hsm::RawSigner| {
                let mut signature = Signature::empty();
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    signer.sign(input, &mut signature).unwrap();
                    count += 1;
                }
                count
            };
            let loops: Vec<_> = signers
                .into_iter()
                .map(|signer| scope.spawn(move || sign(signer)))
                .collect();
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
            signed = loops.into_iter().map(|thread| thread.join().unwrap()).sum();
        });
        signed as f64 / begin.elapsed().as_secs_f64()
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(3.0, |text| text.parse().unwrap());
    let time = Duration::from_secs_f64(seconds);
    match arguments.next() {
        None => table(time),
        Some(uri) => {
            let sessions = arguments.next().map_or(2, |text| text.parse().unwrap());
            compare(&uri, sessions, time);
        }
    }
}

fn table(time: Duration) {
    println!("| latency, nominal | true mean | sessions | bound | pool | ratio |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for latency in LATENCIES_US {
        for sessions in SESSIONS {
            let capped = sessions as f64 * 1e6 / f64::from(latency) > f64::from(RATE_CAP);
            let cap = if capped { RATE_CAP } else { 0 };
            let directory = tempfile::tempdir().unwrap();
            let configuration = format!(
                "mode = \"premade\"\nsession_max = 512\nrate_cap = {cap}\n\
                 latency = {{ mean_us = {latency}, jitter_us = 0 }}\n"
            );
            let hsm = TestHsm::create(directory.path(), "hsm", &configuration).unwrap();
            let drive = Drive::new(&hsm.uri(), sessions);
            let rate = drive.rate(sessions, time);
            let mean = hsm.report().unwrap().pace.latency_mean_us;
            let mut bound = sessions as f64 * 1e6 / mean;
            if capped {
                bound = bound.min(f64::from(RATE_CAP));
            }
            println!(
                "| {} ms | {:.3} ms | {sessions} | {bound:.0}/s{} | {rate:.0}/s | {:.3} |",
                f64::from(latency) / 1e3,
                mean / 1e3,
                if bound < f64::from(RATE_CAP) || !capped {
                    ""
                } else {
                    " (cap)"
                },
                rate / bound,
            );
        }
    }
}

fn compare(uri: &str, sessions: usize, time: Duration) {
    let drive = Drive::new(uri, sessions);
    let mut ratios = Vec::new();
    for _ in 0..SLICES {
        let raw = drive.raw_rate(sessions, time);
        let pool = drive.rate(sessions, time);
        println!(
            "raw loops {raw:.0}/s, pool {pool:.0}/s, ratio {:.3}",
            pool / raw
        );
        ratios.push(pool / raw);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ratio {:.3} ({:.3} to {:.3}), median of {SLICES} pairs with {sessions} sessions",
        ratios[SLICES / 2],
        ratios[0],
        ratios[SLICES - 1]
    );
}
