//! The lanes beside aws-lc-rs in one run: signatures per second with keys that come once, and with one that comes again and again.
//!
//! ```text
//! cargo bench --package p256x8
//! ```
//!
//! Other work on the machine changes the ratios less than the figures, but it changes them: let it be idle.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot run has to stop"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use p256x8::{Ifma, LaneVerifier};

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/verify/oracle.rs"]
mod oracle;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/verify/random.rs"]
mod random;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/verify/sample.rs"]
mod sample;

use random::Random;
use sample::{Key, Nonce, Sample};

const SAMPLES: usize = 64;

/// Valid signatures, each with its own key or all with one.
fn samples(one_key: bool) -> Vec<Sample> {
    let mut random = Random::new(1);
    let first = Key::random(&mut random);
    let make = |_| {
        let own = Key::random(&mut random);
        let key = if one_key { &first } else { &own };
        let nonce = Nonce::random(&mut random);
        key.sign(random.octets(), &nonce)
    };
    (0..SAMPLES).map(make).collect()
}

/// Runs one way to verify and prints how much faster it is than another one, from alternating rounds.
fn compare(name: &str, each: usize, mut fast: impl FnMut(), mut slow: impl FnMut()) {
    let (mut fast_time, mut slow_time) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..60 {
        let start = Instant::now();
        fast();
        fast_time += start.elapsed() * (SAMPLES / each) as u32;
        let start = Instant::now();
        slow();
        slow_time += start.elapsed();
    }
    let ratio = slow_time.as_secs_f64() / fast_time.as_secs_f64();
    println!("{name}: {ratio:.2} times as many signatures per second as aws-lc-rs");
}

fn own_keys(c: &mut Criterion) {
    let samples = samples(false);
    let items: Vec<_> = samples.iter().filter_map(Sample::item).collect();
    let aws = || assert!(black_box(&samples).iter().all(Sample::aws));
    let mut group = c.benchmark_group("own keys");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.bench_function("aws-lc-rs", |b| b.iter(aws));
    let Some(lanes) = Ifma::detect().map(LaneVerifier::new) else {
        return;
    };
    for count in [8, 16, SAMPLES] {
        let mut verdicts = [false; SAMPLES];
        let mut run = || {
            lanes.verify(black_box(&items[..count]), &mut verdicts);
            assert!(verdicts[count - 1]);
        };
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("lanes, batches of {count}"), |b| b.iter(&mut run));
        compare(&format!("own keys, batches of {count}"), count, run, aws);
    }
}

fn prepared_key(c: &mut Criterion) {
    let samples = samples(true);
    let signed: Vec<_> = samples.iter().map(Sample::signed).collect();
    let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, samples[0].key).unwrap();
    let aws = || {
        let samples = black_box(&samples).iter();
        assert!(samples.fold(true, |all, sample| all & sample.aws_parsed(&parsed)));
    };
    let mut group = c.benchmark_group("prepared key");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    group.bench_function("aws-lc-rs, parsed key", |b| b.iter(aws));
    let Some(lanes) = Ifma::detect().map(LaneVerifier::new) else {
        return;
    };
    let key = lanes.prepare(&samples[0].item().unwrap().0).unwrap();
    for count in [8, SAMPLES] {
        let mut verdicts = [false; SAMPLES];
        let mut run = || {
            lanes.verify_prepared(&key, black_box(&signed[..count]), &mut verdicts);
            assert!(verdicts[count - 1]);
        };
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("lanes, batches of {count}"), |b| b.iter(&mut run));
        compare(
            &format!("prepared key, batches of {count}"),
            count,
            run,
            aws,
        );
    }
}

criterion_group!(benches, own_keys, prepared_key);
criterion_main!(benches);
