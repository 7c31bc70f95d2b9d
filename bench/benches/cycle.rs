//! One bench for each stage of the cycle, P-256 throughout. `make bench` runs them.
//!
//! `sign/softhsm` and `pipeline/softhsm` need SoftHSM and fail without it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench that cannot run has to stop"
)]

use std::hint::black_box;
use std::sync::{Arc, mpsc};

use birthmark_bench::{Ca, Step, Steps, request};
use birthmark_engine::lint::{self, lint};
use birthmark_engine::{LogKey, Request, stages};
use birthmark_hsm::{KeyAlgorithm, Signature, SigningPool, SoftwareKey};
use birthmark_log::{Append, Commit, CommitSink, Committed, Log, Options, RecordKeys, Reservation};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// The allocator of the shipped binaries, so that figures agree with theirs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Certificates in one iteration of the pipeline bench.
const PIPELINE_BATCH: u64 = 4096;

fn steps(c: &mut Criterion) {
    let ca = Ca::software().unwrap();
    let (bench, key) = ca.stages().unwrap();
    let steps = Steps::new(&bench, &key).unwrap();
    let csr = request(0).unwrap();
    let mut group = c.benchmark_group("step");
    for step in Step::EACH {
        group.bench_function(step.name(), |b| b.iter(|| assert!(steps.run(step))));
    }
    group.bench_function("parse+verify", |b| {
        b.iter(|| assert!(stages::verify_csr(black_box(&csr))))
    });
    let finished = steps.finished();
    group.bench_function("check", |b| {
        b.iter(|| assert!(bench.check(black_box(finished))))
    });
    group.bench_function("lint", |b| {
        b.iter(|| lint(black_box(finished.der()), &lint::Options::default()).len())
    });
}

fn sign(c: &mut Criterion) {
    let mut group = c.benchmark_group("sign");
    for (name, ca) in [("software", Ca::software()), ("softhsm", Ca::softhsm())] {
        let pool: SigningPool = ca.unwrap().pool().unwrap();
        let input = pool.input_for(&[7; 400]);
        let mut signer = pool.raw_signers(1).unwrap().pop().unwrap();
        let mut signature = Signature::empty();
        group.bench_function(name, |b| {
            b.iter(|| signer.sign(&input, &mut signature).unwrap())
        });
        drop(signer);
        pool.close().unwrap();
    }
}

/// Hands every answer of the log to the bench.
struct Answers(mpsc::Sender<Commit>);

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        commits
            .drain(..)
            .for_each(|commit| drop(self.0.send(commit)));
    }
}

fn record(bytes: usize) -> Vec<u8> {
    let mut record = vec![0x83, 9, 1, 0x1b];
    record.resize(bytes, 0);
    record
}

/// One group commit of 64 reservations and their 64 records, durable.
fn append(c: &mut Criterion) {
    const BATCH: u64 = 64;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    Log::create(&path).unwrap();
    let (sender, answers) = mpsc::channel();
    let keys = Arc::new(|_: &[u8]| Ok::<RecordKeys, _>(RecordKeys::default()));
    let key_file = directory.path().join("log.key");
    let key = SoftwareKey::generate(KeyAlgorithm::Ed25519).unwrap();
    key.write_new(&key_file).unwrap();
    let key = LogKey::read(&key_file, "example.com/bench").unwrap();
    let sink = Arc::new(Answers(sender));
    let log = Log::open(&path, Options::default(), keys, Arc::new(key), sink).unwrap();
    let reservation = |ticket| Reservation {
        ticket,
        lost_record: record(90),
        record_bytes_max: 1024,
    };
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("reserve+append", |b| {
        b.iter_batched(
            || (0..BATCH).map(reservation).collect::<Vec<_>>(),
            |reservations| {
                log.reserve(reservations);
                let appends = (0..BATCH)
                    .map(|_| match answers.recv().unwrap() {
                        Commit {
                            ticket,
                            outcome: Ok(Committed::Reserved(reservation)),
                            ..
                        } => Append {
                            ticket,
                            reservation,
                            record: record(850),
                        },
                        other => panic!("{other:?}"),
                    })
                    .collect();
                log.append(appends);
                (0..BATCH).for_each(|_| assert!(answers.recv().unwrap().outcome.is_ok()));
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
    log.close().unwrap();
}

/// The whole engine, every check on, durable. Each iteration takes requests of its own.
fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(PIPELINE_BATCH));
    for (name, ca) in [("software", Ca::software()), ("softhsm", Ca::softhsm())] {
        let ca = ca.unwrap();
        let engine = ca.engine().unwrap();
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let devices = next..next + PIPELINE_BATCH;
                    next = devices.end;
                    devices.map(device_request).collect::<Vec<_>>()
                },
                |requests| {
                    assert!(engine.issue_batch(requests).iter().all(Result::is_ok));
                },
                BatchSize::PerIteration,
            );
        });
        engine.close().unwrap();
    }
}

fn device_request(number: u64) -> Request {
    Request::new(request(number).unwrap(), "idevid")
}

criterion_group!(benches, steps, sign, append, pipeline);
criterion_main!(benches);
