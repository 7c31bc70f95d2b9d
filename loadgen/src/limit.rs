//! The limit: what the cryptography of one certificate costs on these cores, and nothing else.
//!
//! For each certificate a thread verifies a request's signature (the key parsed each time, as
//! each request brings its own), signs a message as long as a TBS certificate with the
//! configuration's own key, and verifies that signature (the issuer's key parsed once). Nothing
//! is allocated or copied in the loop beyond what aws-lc-rs and the token do inside a call.
//!
//! There are two loops, and both run on the same threads in turn: one with aws-lc-rs alone, and the limit itself, which verifies as
//! the engine does, P-256 signatures on lanes where the processor has them ([`lanes`]). Without lanes they are the same
//! loop, and only one is run.
//!
//! A slow limit would flatter the engine. So the loop takes the cheapest way everywhere: the
//! sample of requests is small enough for the caches, the digest is computed once for signing
//! and verifying, and the thread count is the best of those tried.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::ParsedPublicKey;
use birthmark_hsm::{KeyAlgorithm, OpenError, RawSigner, SignError, SigningPool};
use p256x8::Path;

mod lanes;
mod report;
mod sample;
mod step;

pub use report::LimitReport;

use crate::corpus::Corpus;
use crate::process::ProcessorClock;
use crate::{process, verification};
use lanes::{Lanes, SharedLanes};
pub(crate) use sample::Sample;
use step::Step;

/// Length of a shot at one thread count while the best is looked for: thousands of certificates,
/// so a hundredth more or less shows.
const TRIAL: Duration = Duration::from_millis(250);

/// Each thread count is tried this often, in turn, and its best shot counts.
const TRIAL_ROUNDS: usize = 2;

/// The most threads tried of their own accord, as a multiple of the cores: past this a token
/// that computes on this machine only loses, and for one that does not, say how many.
const THREADS_PER_CORE_MAX: usize = 4;

/// How long the threads may take to end a slice: each finishes what it has in hand, which takes the
/// slowest hardware about two seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Why the limit cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// No signer of its own for each thread.
    #[error("cannot open {threads} signers for measuring the limit: {source}")]
    Signers {
        /// How many were wanted.
        threads: usize,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The signer failed while the limit ran.
    #[error("the signer failed while the limit was measured: {0}")]
    Sign(#[source] SignError),
    /// The signer's public key cannot be used.
    #[error(
        "the signer's public key cannot be read; check that its objects on the token belong together"
    )]
    IssuerKey,
    /// A signature did not verify.
    #[error(
        "a signature made for measuring the limit did not verify; check that the signer's public and private key belong together"
    )]
    WrongSignature,
    /// A request of the corpus stopped verifying.
    #[error(
        "a request of the corpus verified before and does not now; check this machine's memory"
    )]
    WrongRequest,
    /// Nothing to verify.
    #[error(
        "none of the first {0} requests of the corpus has a signature that verifies; make a corpus with `loadgen corpus`"
    )]
    NoRequest(usize),
    /// The system gave no thread.
    #[error("cannot start a thread for measuring the limit: {0}")]
    Thread(#[source] std::io::Error),
    /// A thread is gone or hangs in the signer.
    #[error("a thread that measures the limit does not answer; check that the token responds")]
    Ended,
}

/// The limit loop of one configuration: threads that wait between slices.
#[derive(Debug)]
pub struct LimitLoop {
    workers: Vec<Worker>,
    results: Receiver<Result<Shot, LimitError>>,
    threads: usize,
    scalar_threads: usize,
    lanes: bool,
}

/// What a slice verifies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Lanes where there are any.
    Fastest,
    /// aws-lc-rs alone.
    Scalar,
}

/// What one slice did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitSlice {
    /// Certificates' worth of cryptography done.
    pub count: u64,
    /// Seconds that the slowest thread took.
    pub seconds: f64,
    /// Certificates per second: the sum over the threads, each by its own clock, so that a
    /// thread that stops last does not count against the others.
    pub per_second: f64,
    /// Processor time of this process for each certificate, in microseconds. None where the
    /// system does not say.
    pub processor_us: Option<f64>,
}

impl LimitLoop {
    /// Starts the threads and, unless `threads` says how many, finds the best number: the cores
    /// for a software key, the cores and more for a token (whose calls may wait). `path` is how the engine verifies.
    pub fn start(
        pool: &SigningPool,
        corpus: &Corpus,
        path: Path,
        threads: Option<usize>,
    ) -> Result<LimitLoop, LimitError> {
        let candidates = match threads {
            Some(threads) => vec![threads.max(1)],
            None => candidates(process::cores(), pool.signs_inline()),
        };
        let sample = Arc::new(Sample::take(corpus)?);
        let issuer = verification::issuer(pool).map_err(|_| LimitError::IssuerKey)?;
        let most = candidates.iter().copied().max().unwrap_or(1);
        let least = candidates.iter().copied().min().unwrap_or(1);
        let signers = match pool.raw_signers(most) {
            Ok(signers) => signers,
            // A token may have fewer sessions than would be tried.
            Err(_) if least < most => open_signers(pool, least)?,
            Err(source) => {
                return Err(LimitError::Signers {
                    threads: most,
                    source,
                });
            }
        };
        let usable = signers.len();
        let lanes = SharedLanes::new(path, pool, corpus.algorithm());
        let algorithm = pool.key_algorithm();
        let mut this = LimitLoop::spawn(signers, &sample, &issuer, algorithm, lanes.as_ref())?;
        let candidates: Vec<usize> = candidates.into_iter().filter(|n| *n <= usable).collect();
        this.threads = this.best_of(&candidates, Way::Fastest)?;
        this.scalar_threads = match this.lanes {
            true => this.best_of(&candidates, Way::Scalar)?,
            false => this.threads,
        };
        Ok(this)
    }

    /// Whether lanes verify anything. Without them there is one loop, and [`Self::scalar_slice`] would be the same
    /// as [`Self::slice`].
    pub fn has_lanes(&self) -> bool {
        self.lanes
    }

    /// How many threads the slices run on: the best that was found.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs all threads for `duration`.
    pub fn slice(&mut self, duration: Duration) -> Result<LimitSlice, LimitError> {
        self.shot(self.threads, duration, Way::Fastest)
    }

    /// The same with aws-lc-rs alone.
    pub fn scalar_slice(&mut self, duration: Duration) -> Result<LimitSlice, LimitError> {
        self.shot(self.scalar_threads, duration, Way::Scalar)
    }

    /// A slice of each loop, one after the other: with lanes and with aws-lc-rs alone. Without lanes one slice stands for both.
    pub fn both_slices(
        &mut self,
        duration: Duration,
    ) -> Result<(LimitSlice, LimitSlice), LimitError> {
        let fastest = self.slice(duration)?;
        let scalar = match self.lanes {
            true => self.scalar_slice(duration)?,
            false => fastest,
        };
        Ok((fastest, scalar))
    }

    fn spawn(
        signers: Vec<RawSigner>,
        sample: &Arc<Sample>,
        issuer: &ParsedPublicKey,
        algorithm: KeyAlgorithm,
        lanes: Option<&SharedLanes>,
    ) -> Result<LimitLoop, LimitError> {
        let (result, results) = mpsc::channel();
        let mut workers = Vec::with_capacity(signers.len());
        let threads = signers.len();
        for (number, signer) in signers.into_iter().enumerate() {
            let step = Step::new(
                Arc::clone(sample),
                number,
                sample.len() * number / threads,
                signer,
                issuer.clone(),
                algorithm,
                lanes.cloned().map(Lanes::new),
            );
            workers.push(Worker::spawn(number, step, result.clone())?);
        }
        Ok(LimitLoop {
            workers,
            results,
            threads,
            scalar_threads: threads,
            lanes: lanes.is_some(),
        })
    }

    fn best_of(&mut self, candidates: &[usize], way: Way) -> Result<usize, LimitError> {
        let [first, _, ..] = candidates else {
            return Ok(candidates.first().copied().unwrap_or(1));
        };
        let mut best = (*first, 0.0);
        for _ in 0..TRIAL_ROUNDS {
            for threads in candidates {
                let rate = self.shot(*threads, TRIAL, way)?.per_second;
                if rate > best.1 {
                    best = (*threads, rate);
                }
            }
        }
        Ok(best.0)
    }

    fn shot(
        &mut self,
        threads: usize,
        duration: Duration,
        way: Way,
    ) -> Result<LimitSlice, LimitError> {
        let threads = threads.clamp(1, self.workers.len());
        let gate = Arc::new(Gate {
            start: Barrier::new(threads + 1),
            stop: AtomicBool::new(false),
            way,
        });
        for worker in &self.workers[..threads] {
            let sent = worker
                .gates
                .as_ref()
                .map(|gates| gates.send(Arc::clone(&gate)));
            if !matches!(sent, Some(Ok(()))) {
                return Err(LimitError::Ended);
            }
        }
        let clock = ProcessorClock::start();
        gate.start.wait();
        thread::sleep(duration);
        gate.stop.store(true, Ordering::Relaxed);
        let mut slice = LimitSlice {
            count: 0,
            seconds: 0.0,
            per_second: 0.0,
            processor_us: None,
        };
        let mut failure = None;
        for _ in 0..threads {
            match self
                .results
                .recv_timeout(ANSWER_MAX)
                .map_err(|_| LimitError::Ended)?
            {
                Ok(shot) => {
                    let seconds = shot.elapsed.as_secs_f64();
                    slice.count += shot.count;
                    slice.seconds = slice.seconds.max(seconds);
                    slice.per_second += shot.count as f64 / seconds;
                }
                Err(error) => failure = Some(error),
            }
        }
        slice.processor_us = clock
            .and_then(ProcessorClock::stop)
            .map(|used| used.own.as_secs_f64() * 1e6 / slice.count.max(1) as f64);
        failure.map_or(Ok(slice), Err)
    }
}

/// Ends the threads and waits for them.
impl Drop for LimitLoop {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.gates = None;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A panic was reported by the panic hook; here it changes nothing more.
                drop(thread.join());
            }
        }
    }
}

fn open_signers(pool: &SigningPool, threads: usize) -> Result<Vec<RawSigner>, LimitError> {
    pool.raw_signers(threads)
        .map_err(|source| LimitError::Signers { threads, source })
}

/// Thread counts worth trying. A software key computes all the time, so more threads than cores
/// only take turns; a token may wait for locks or for hardware.
fn candidates(cores: usize, computes: bool) -> Vec<usize> {
    if computes {
        return vec![cores];
    }
    let mut counts = vec![cores, cores + 1, cores * 2, cores * THREADS_PER_CORE_MAX];
    counts.dedup();
    counts
}

#[derive(Debug)]
struct Worker {
    /// None once the worker shall end.
    gates: Option<Sender<Arc<Gate>>>,
    thread: Option<JoinHandle<()>>,
}

/// One slice: when it begins and when it ends.
#[derive(Debug)]
struct Gate {
    start: Barrier,
    stop: AtomicBool,
    way: Way,
}

struct Shot {
    count: u64,
    elapsed: Duration,
}

impl Worker {
    fn spawn(
        number: usize,
        mut step: Step,
        result: Sender<Result<Shot, LimitError>>,
    ) -> Result<Worker, LimitError> {
        let (gates, slices) = mpsc::channel::<Arc<Gate>>();
        let thread = thread::Builder::new()
            .name(format!("limit-{number}"))
            .spawn(move || {
                for gate in slices {
                    if result.send(run_slice(&mut step, &gate)).is_err() {
                        return;
                    }
                }
            })
            .map_err(LimitError::Thread)?;
        Ok(Worker {
            gates: Some(gates),
            thread: Some(thread),
        })
    }
}

/// The measured loop.
fn run_slice(step: &mut Step, gate: &Gate) -> Result<Shot, LimitError> {
    gate.start.wait();
    let begin = Instant::now();
    // Out of the step while it runs: both are borrowed for writing.
    let mut lanes = step.lanes.take();
    let used = lanes.as_mut().filter(|_| gate.way == Way::Fastest);
    let count = certificates(step, used, &gate.stop);
    step.lanes = lanes;
    Ok(Shot {
        count: count?,
        elapsed: begin.elapsed(),
    })
}

fn certificates(
    step: &mut Step,
    mut lanes: Option<&mut Lanes>,
    stop: &AtomicBool,
) -> Result<u64, LimitError> {
    let mut count = 0;
    // A thread that had no processor for the whole slice makes one all the same: nothing is no rate.
    loop {
        count += match &mut lanes {
            Some(lanes) => lanes.certificates(step, stop)?,
            None => step.certificate().map(|()| 1)?,
        };
        if stop.load(Ordering::Relaxed) {
            return Ok(count);
        }
    }
}

#[cfg(test)]
mod tests;
