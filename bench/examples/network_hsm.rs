//! The whole engine on a simulated network HSM, by latency and number of sessions.
//!
//! `cargo run --release -p birthmark-bench --example network_hsm -- DIR [SECONDS]`
//!
//! The test token signs with a real key, after a latency, 20,000 times a second at most. Each row is a CA of
//! its own in DIR, which must not exist, with a durable log. The limit is measured in the same run: the
//! verifications and the token's signature alone, on as many threads as sessions. `bound` is the lesser of
//! what the token can do (sessions / its true mean latency, its cap) and what the processors can:
//! cores / processor time of the limit's work.

// A measurement fails by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use birthmark::ceremony::{CaPlan, KeyPlace, create};
use birthmark_engine::{Configuration, Engine};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::{Corpus, Options, measure};
use birthmark_test_token::TestHsm;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LATENCIES_US: [u32; 3] = [200, 1000, 5000];
const SESSIONS: [usize; 3] = [8, 32, 128];
const RATE_CAP: f64 = 20_000.0;
const SEED: u64 = 1;

/// About what two processors do, to choose how many requests a row takes.
const RATE_GUESS: f64 = 14_000.0;

/// Fewer do not fill the run's slices.
const REQUESTS_MIN: f64 = 20_000.0;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .expect("the first argument is a directory that does not exist");
    let seconds: f64 = arguments.next().map_or(10.0, |text| text.parse().unwrap());
    let dir = Path::new(&dir);
    assert!(!dir.exists(), "{} exists", dir.display());
    std::fs::create_dir(dir).unwrap();
    println!(
        "| latency, nominal | true mean | sessions | bound | engine | ratio | limit loop | ratio |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for latency_us in LATENCIES_US {
        for sessions in SESSIONS {
            row(
                &dir.join(format!("{latency_us}-{sessions}")),
                latency_us,
                sessions,
                seconds,
            );
        }
    }
}

fn row(dir: &Path, latency_us: u32, sessions: usize, seconds: f64) {
    std::fs::create_dir(dir).unwrap();
    let dir = dir.canonicalize().unwrap();
    let settings = format!(
        "mode = \"software\"\nkey_file = \"key.p8\"\nmake_key = false\nsession_max = 512\n\
         rate_cap = {RATE_CAP}\nlatency = {{ mean_us = {latency_us}, jitter_us = 0 }}\n"
    );
    let hsm = TestHsm::create(&dir, "hsm", &settings).unwrap();
    let mut plan = CaPlan::new(dir.join("ca"), "O=Bench,CN=Bench CA".parse().unwrap());
    plan.signer = KeyPlace::Token(Box::new(hsm.uri().parse().unwrap()));
    plan.sessions = Some(sessions);
    let created = create(&plan).unwrap();
    let station = Configuration::load(&created.configuration)
        .unwrap()
        .station()
        .unwrap();
    let engine = Engine::open(station).unwrap();

    let token = (sessions as f64 * 1e6 / f64::from(latency_us)).min(RATE_CAP);
    let requests = (token.min(RATE_GUESS) * seconds).max(REQUESTS_MIN) as u64;
    let corpus = dir.join("requests.corpus");
    Corpus::make(&corpus, requests, KeyAlgorithm::EcP256, SEED, &mut |_| {}).unwrap();
    let options = Options {
        limit_threads: Some(sessions),
        ..Options::default()
    };
    let corpus = Corpus::open(&corpus).unwrap();
    let report = measure(&engine, &corpus, "idevid", &options, &mut |_| {}).unwrap();
    engine.close().unwrap();
    assert!(!report.has_faults() && report.is_clean(), "{report:?}");

    let mean_us = hsm.report().unwrap().pace.latency_mean_us;
    let processors = report.cores as f64 * 1e6 / report.limit_processor_us_per_certificate.unwrap();
    let bound = (sessions as f64 * 1e6 / mean_us)
        .min(RATE_CAP)
        .min(processors);
    let rate = report.certificates_per_second;
    println!(
        "| {} ms | {:.3} ms | {sessions} | {bound:.0}/s | {rate:.0}/s | {:.3} | {:.0}/s | {:.3} |",
        f64::from(latency_us) / 1e3,
        mean_us / 1e3,
        rate / bound,
        report.limit_per_second.unwrap(),
        report.ratio_to_limit.unwrap(),
    );
}
