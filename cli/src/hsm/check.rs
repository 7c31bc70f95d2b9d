//! `birthmark hsm check`: does the key sign, is it the certificate's, and with how many sessions is it best?

use std::fmt::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_engine::{Configuration, Issuer};
use birthmark_hsm::{
    ErrorClass, OpenError, Pkcs11Options, Pkcs11Uri, RawSigner, SessionLimit, SignError, SignInput,
    Signature, SignerLocation, SigningPool, TEST_TEXT, inspect_uri, report_key,
};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::args::HsmCheckArguments;
use super::{HsmError, Marks, pin, uri, write_result};
use crate::ceremony::{public_key_sha256, verify_signature};
use crate::command::Exit;
use crate::console::{Console, grouped};

/// Most sessions tried. The largest HSMs are served best by 30 to 100.
pub const SESSIONS_TRIED_MAX: usize = 64;

/// The pool's own: the one that holds the login, and one that signs.
const SESSIONS_OF_POOL: usize = 2;

/// So much of the best rate is as good as the best.
const GOOD_ENOUGH: f64 = 0.95;

/// A call that has not come back after so long will not: some 1,000 times what a slow HSM takes.
const HUNG: Duration = Duration::from_secs(30);

/// Latencies from 1 µs to a minute, to three digits: some 100 KiB a session.
const LATENCY_US_MAX: u64 = 60_000_000;

/// One number of sessions, measured.
#[derive(Clone, Debug, Serialize)]
struct Step {
    sessions: usize,
    signatures: u64,
    signatures_per_s: f64,
    p50_us: u64,
    p99_us: u64,
}

#[derive(Serialize)]
struct Report {
    signer: String,
    public_key_sha256: Option<String>,
    /// Whether the certificate has this key; null: no certificate was given.
    certificate_fits: Option<bool>,
    imported: bool,
    attributes_not_as_asked: Vec<&'static str>,
    sessions_verified: usize,
    /// Why no more sessions were tried.
    sessions_limited_by: &'static str,
    steps: Vec<Step>,
    recommended_sessions: usize,
}

pub(super) fn run(
    arguments: &HsmCheckArguments,
    console: &mut Console<'_>,
) -> Result<Exit, HsmError> {
    let (uri, issuer) = subject(arguments)?;
    let options = Pkcs11Options {
        sessions: Some(1),
        ..Pkcs11Options::default()
    };
    // The one login. What follows finds the process logged in.
    let pool = SigningPool::pkcs11(&uri, options)?;
    if let Some(issuer) = &issuer {
        issuer.check_signer(&pool)?;
    }
    let key = report_key(&uri)?;
    let input = pool.input_for(TEST_TEXT.as_bytes());
    let (mut signers, limited_by) = open_sessions(&pool, sessions_allowed(&uri)?)?;
    let mut signature = Signature::empty();
    for (index, signer) in signers.iter_mut().enumerate() {
        signer.sign(&input, &mut signature)?;
        let verified = verify_signature(&pool, TEST_TEXT.as_bytes(), signature.as_bytes());
        verified.map_err(|_| HsmError::SignatureWrong { session: index + 1 })?;
    }
    let sessions_verified = signers.len();
    let steps = measure(signers, &input, arguments.seconds, console)?;
    let report = Report {
        signer: pool.describe(),
        public_key_sha256: public_key_sha256(pool.public_key()),
        certificate_fits: issuer.map(|_| true),
        imported: key.is_imported(),
        attributes_not_as_asked: key.not_as_asked().iter().map(|wrong| wrong.name).collect(),
        sessions_verified,
        sessions_limited_by: limited_by,
        recommended_sessions: recommended(&steps),
        steps,
    };
    write_result(console, arguments.json, &report, &text(&report))?;
    if report.imported {
        console.note(format_args!(
            "warning: the token does not say that it made the key itself (CKA_LOCAL): copies may exist elsewhere"
        ));
    }
    if !report.attributes_not_as_asked.is_empty() {
        console.note(format_args!(
            "warning: the key is not protected as an issuing key should be: {}",
            report.attributes_not_as_asked.join(", ")
        ));
    }
    Ok(Exit::Done)
}

/// The key, and the certificate that it should belong to.
fn subject(arguments: &HsmCheckArguments) -> Result<(Pkcs11Uri, Option<Issuer>), HsmError> {
    if let Some(text) = &arguments.uri {
        let issuer = arguments.certificate.as_deref().map(Issuer::read);
        let uri = pin::with_pin(uri(text)?, Marks::OfUser)?;
        return Ok((uri, issuer.transpose()?));
    }
    // The grammar wants one of the two.
    let path = arguments.config.as_deref().unwrap_or("".as_ref());
    let configuration = Configuration::load(path)?;
    let issuer = configuration.issuer()?;
    match pin::activated(configuration)?.signers() {
        [SignerLocation::Pkcs11(uri)] => {
            let uri = pin::with_pin(uri.clone(), Marks::Beside(path))?;
            Ok((uri, Some(issuer)))
        }
        [SignerLocation::Software(_)] => Err(HsmError::Software),
        _ => Err(HsmError::SeveralSigners),
    }
}

/// How many sessions may be tried, as far as the token tells.
fn sessions_allowed(uri: &Pkcs11Uri) -> Result<usize, HsmError> {
    let module = inspect_uri(uri)?;
    let mut tokens = module.slots.into_iter().filter_map(|slot| slot.token);
    let limit = tokens.next().map(|token| token.sessions_max);
    Ok(match limit {
        Some(SessionLimit::Most(most)) => {
            usize::try_from(most).map_or(SESSIONS_TRIED_MAX, |most| {
                most.saturating_sub(SESSIONS_OF_POOL)
                    .clamp(1, SESSIONS_TRIED_MAX)
            })
        }
        _ => SESSIONS_TRIED_MAX,
    })
}

/// Opens up to `most` sessions, one after the other: a token may refuse one before its limit.
fn open_sessions(
    pool: &SigningPool,
    most: usize,
) -> Result<(Vec<RawSigner>, &'static str), HsmError> {
    let mut signers = Vec::with_capacity(most);
    while signers.len() < most {
        match pool.raw_signers(1) {
            Ok(more) => signers.extend(more),
            Err(OpenError::Call { call, .. })
                if call.class() == ErrorClass::Busy && !signers.is_empty() =>
            {
                return Ok((signers, "the token refused another session"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let limited_by = match most {
        SESSIONS_TRIED_MAX => "this command",
        _ => "the token's limit",
    };
    Ok((signers, limited_by))
}

/// 1, 2, 4, … and all that there are.
fn session_counts(most: usize) -> Vec<usize> {
    let powers = (0..).map(|exponent| 1usize << exponent);
    let mut counts: Vec<usize> = powers.take_while(|count| *count < most).collect();
    counts.push(most);
    counts
}

fn measure(
    mut signers: Vec<RawSigner>,
    input: &SignInput,
    seconds: u16,
    console: &mut Console<'_>,
) -> Result<Vec<Step>, HsmError> {
    let counts = session_counts(signers.len());
    let bar = console.bar("measuring", "steps", Some(counts.len() as u64));
    let mut steps = Vec::with_capacity(counts.len());
    for count in counts {
        let rest = signers.split_off(count);
        let step;
        (signers, step) = measure_step(signers, input, Duration::from_secs(seconds.into()))?;
        signers.extend(rest);
        steps.push(step);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(steps)
}

/// What one thread brings back.
struct Signed {
    signer: RawSigner,
    outcome: Result<Histogram<u64>, SignError>,
}

/// All signers sign until the time is over, each on a thread of its own. The threads are not waited for when
/// the token hangs: nothing ends a call into a module.
fn measure_step(
    signers: Vec<RawSigner>,
    input: &SignInput,
    time: Duration,
) -> Result<(Vec<RawSigner>, Step), HsmError> {
    let sessions = signers.len();
    let (results, finished) = mpsc::channel();
    let start = Arc::new(Barrier::new(sessions + 1));
    for signer in signers {
        let (results, start, input) = (results.clone(), Arc::clone(&start), input.clone());
        let work = move || {
            start.wait();
            // The receiver gives up on a token that hangs.
            let _ = results.send(sign_for(signer, &input, time));
        };
        thread::Builder::new()
            .name("hsm-check".to_owned())
            .spawn(work)
            .map_err(HsmError::Thread)?;
    }
    start.wait();
    let begun = Instant::now();
    let mut signers = Vec::with_capacity(sessions);
    let mut latency = histogram();
    for _ in 0..sessions {
        let patience = (time + HUNG).saturating_sub(begun.elapsed());
        let signed: Signed = match finished.recv_timeout(patience) {
            Ok(signed) => signed,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let seconds = HUNG.as_secs();
                return Err(HsmError::Hung { seconds, sessions });
            }
        };
        signers.push(signed.signer);
        // Histograms of the same bounds always add up.
        let _ = latency.add(signed.outcome?);
    }
    let elapsed_s = begun.elapsed().as_secs_f64();
    let step = Step {
        sessions,
        signatures: latency.len(),
        signatures_per_s: latency.len() as f64 / elapsed_s,
        p50_us: latency.value_at_quantile(0.5),
        p99_us: latency.value_at_quantile(0.99),
    };
    Ok((signers, step))
}

fn sign_for(mut signer: RawSigner, input: &SignInput, time: Duration) -> Signed {
    let mut latency = histogram();
    let mut signature = Signature::empty();
    let begun = Instant::now();
    let outcome = loop {
        let before = Instant::now();
        if let Err(error) = signer.sign(input, &mut signature) {
            break Err(error);
        }
        let us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        latency.saturating_record(us.max(1));
        if begun.elapsed() >= time {
            break Ok(latency);
        }
    };
    Signed { signer, outcome }
}

#[allow(clippy::unwrap_used, reason = "the bounds are constants that fit")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap()
}

/// The smallest number of sessions with at least [`GOOD_ENOUGH`] of the best rate.
fn recommended(steps: &[Step]) -> usize {
    let rate = |step: &Step| step.signatures_per_s;
    let best = steps.iter().map(rate).fold(0.0, f64::max);
    let good = steps.iter().find(|step| rate(step) >= GOOD_ENOUGH * best);
    good.map_or(1, |step| step.sessions)
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "signer       {}\npublic key   SHA-256 {}\ncertificate  {}\nverified     {}\nlimited by   {}\n\n\
         sessions  signatures/s    p50 ms    p99 ms\n",
        report.signer,
        report.public_key_sha256.as_deref().unwrap_or_default(),
        match report.certificate_fits {
            Some(_) => "has this key",
            None => "none given",
        },
        match report.sessions_verified {
            1 => "a test signature of 1 session".to_owned(),
            count => format!("a test signature of each of {count} sessions"),
        },
        report.sessions_limited_by,
    );
    for step in &report.steps {
        let _ = writeln!(
            text,
            "{:>8}  {:>12}  {:>8.3}  {:>8.3}",
            step.sessions,
            grouped(step.signatures_per_s.round() as u64),
            step.p50_us as f64 / 1_000.0,
            step.p99_us as f64 / 1_000.0,
        );
    }
    let _ = writeln!(
        text,
        "\nrecommended  sessions = {}",
        report.recommended_sessions
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(rates: &[(usize, f64)]) -> Vec<Step> {
        let step = |(sessions, signatures_per_s): &(usize, f64)| Step {
            sessions: *sessions,
            signatures: 0,
            signatures_per_s: *signatures_per_s,
            p50_us: 0,
            p99_us: 0,
        };
        rates.iter().map(step).collect()
    }

    #[test]
    fn the_smallest_number_that_is_good_enough_is_recommended() {
        let cases: [(&[(usize, f64)], usize); 4] = [
            (&[(1, 100.0), (2, 200.0), (4, 390.0), (8, 400.0)], 4),
            (&[(1, 100.0), (2, 200.0), (4, 379.0), (8, 400.0)], 8),
            (&[(1, 100.0), (2, 60.0)], 1),
            (&[], 1),
        ];
        for (rates, sessions) in cases {
            assert_eq!(recommended(&steps(rates)), sessions, "{rates:?}");
        }
    }

    #[test]
    fn session_counts_double_and_end_with_all() {
        assert_eq!(session_counts(1), [1]);
        assert_eq!(session_counts(2), [1, 2]);
        assert_eq!(session_counts(62), [1, 2, 4, 8, 16, 32, 62]);
        assert_eq!(session_counts(64), [1, 2, 4, 8, 16, 32, 64]);
    }
}
