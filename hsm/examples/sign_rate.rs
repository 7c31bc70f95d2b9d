//! How fast SoftHSM signs, with the pool and without: signatures per second of the bare loop
//! (one C_SignInit and one C_Sign per turn) and of the pool, in alternating slices.
//!
//! `softhsm/with-softhsm.sh cargo run --release -p birthmark-hsm --example sign_rate [THREADS]`

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{
    KeyAlgorithm, Pkcs11Options, Pkcs11Uri, SignCompletion, SignError, SignJob, Signature,
    SigningPool, generate_key_pair, initialize_token,
};

/// Long enough for some 10,000 signatures, short enough that both see the same machine.
const SLICE: Duration = Duration::from_millis(700);

/// Slices of each kind; the median counts.
const SLICES: usize = 9;

/// Jobs submitted and not answered yet, as an engine keeps them.
const IN_FLIGHT: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let module = std::env::var_os("BIRTHMARK_TEST_MODULE")
        .map(PathBuf::from)
        .ok_or("run this under softhsm/with-softhsm.sh")?;
    let threads: usize = std::env::args()
        .nth(1)
        .map_or(Ok(2), |number| number.parse())?;
    let (uri, pin_file) = token(&module)?;
    println!("P-256, {threads} sessions, {SLICES} slices of {SLICE:?} each, medians");
    for key_copy in [false, true] {
        let options = Pkcs11Options {
            sessions: Some(threads),
            key_copy,
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&uri, options)?;
        let (mut bare, mut pooled) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            bare.push(bare_rate(&pool, threads)?);
            pooled.push(pool_rate(&pool)?);
        }
        let (bare, pooled) = (median(bare), median(pooled));
        println!(
            "{:24} bare loop {bare:8.0}/s   pool {pooled:8.0}/s   ratio {:.3}",
            if key_copy {
                "session copy of the key"
            } else {
                "key on the token"
            },
            pooled / bare
        );
        pool.close()?;
    }
    std::fs::remove_file(pin_file)?;
    Ok(())
}

/// A token of this run's own.
fn token(module: &Path) -> Result<(Pkcs11Uri, PathBuf), Box<dyn Error>> {
    let label = format!("sign-rate-{}", std::process::id());
    let pin_file = std::env::temp_dir().join(format!("{label}.pin"));
    // It protects a key that is thrown away.
    let pin = "sign rate";
    std::fs::write(&pin_file, pin)?;
    initialize_token(module, &label, pin, pin)?;
    let uri = Pkcs11Uri::new(module, &label, "key", Some(&pin_file));
    generate_key_pair(&uri, KeyAlgorithm::EcP256)?;
    Ok((uri, pin_file))
}

fn bare_rate(pool: &SigningPool, threads: usize) -> Result<f64, Box<dyn Error>> {
    let input = pool.input_for(b"a message");
    let signers = pool.raw_signers(threads)?;
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let count = thread::scope(|scope| {
        let running: Vec<_> = signers
            .into_iter()
            .map(|mut signer| {
                let (input, stop) = (&input, &stop);
                scope.spawn(move || {
                    let (mut count, mut signature) = (0_u64, Signature::empty());
                    while !stop.load(Ordering::Relaxed) {
                        signer.sign(input, &mut signature)?;
                        count += 1;
                    }
                    Ok::<u64, SignError>(count)
                })
            })
            .collect();
        thread::sleep(SLICE);
        stop.store(true, Ordering::Relaxed);
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(SignError::Stopped)))
            .sum::<Result<u64, SignError>>()
    })?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Counts, and gives the permit back.
struct Done {
    count: AtomicU64,
    permits: mpsc::SyncSender<Result<(), SignError>>,
}

impl SignCompletion for Done {
    fn signed(&self, _ticket: u64, outcome: Result<Signature, SignError>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let _ = self.permits.send(outcome.map(drop));
    }
}

fn pool_rate(pool: &SigningPool) -> Result<f64, Box<dyn Error>> {
    let input = pool.input_for(b"a message");
    let (permits, returned) = mpsc::sync_channel(IN_FLIGHT);
    let done = Arc::new(Done {
        count: AtomicU64::new(0),
        permits,
    });
    let submit = |ticket| {
        let completion: Arc<dyn SignCompletion> = Arc::clone(&done) as _;
        pool.submit(SignJob {
            ticket,
            input: input.clone(),
            completion,
        });
    };
    let started = Instant::now();
    (0..IN_FLIGHT as u64).for_each(submit);
    let mut in_flight = IN_FLIGHT;
    // In rounds of half the permits, so that this thread is awake seldom.
    while started.elapsed() < SLICE {
        for _ in 0..IN_FLIGHT / 2 {
            returned.recv()??;
        }
        (0..IN_FLIGHT as u64 / 2).for_each(submit);
    }
    let (count, elapsed) = (done.count.load(Ordering::Relaxed), started.elapsed());
    while in_flight > 0 {
        returned.recv()??;
        in_flight -= 1;
    }
    Ok(count as f64 / elapsed.as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
