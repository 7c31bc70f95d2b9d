//! `birthmark hsm check`: does the key sign, is it the certificate's, and with how many sessions is it best?

use std::fmt::Write as _;

use birthmark_engine::{Configuration, Issuer};
use birthmark_hsm::{
    ErrorClass, OpenError, Pkcs11Options, Pkcs11Uri, RawSigner, SessionLimit, Signature,
    SignerLocation, SigningPool, TEST_TEXT, inspect_uri, report_key,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::HsmCheckArguments;
use super::measure::{Step, measure, recommended};
use super::{HsmError, Marks, pin, uri, write_result};
use crate::ceremony::{public_key_sha256, verify_signature};
use crate::command::{Exit, one_line};
use crate::console::{Console, grouped};

/// Most sessions tried. The largest HSMs are served best by 30 to 100.
pub const SESSIONS_TRIED_MAX: usize = 64;

/// The pool's own: the one that holds the login, and one that signs.
const SESSIONS_OF_POOL: usize = 2;

/// What one token showed.
#[derive(Serialize)]
struct TokenReport {
    token: String,
    serial: String,
    signer: String,
    public_key_sha256: Option<String>,
    /// Whether the certificate has this key; null: no certificate was given.
    certificate_fits: Option<bool>,
    imported: bool,
    attributes_not_as_asked: Vec<&'static str>,
    /// Null where the token does not limit the key's uses.
    uses: Option<Uses>,
    sessions_verified: usize,
    /// Why no more sessions were tried.
    sessions_limited_by: &'static str,
    /// Empty where the key's uses are limited: each of these signatures would be one that no device gets.
    steps: Vec<Step>,
    recommended_sessions: Option<usize>,
}

/// How often a key was used before the check, and how often it may be used in all.
#[derive(Serialize)]
struct Uses {
    count: u64,
    limit: u64,
}

/// A token of the configuration that was not checked to the end.
struct Failed {
    token: String,
    why: String,
}

pub(super) fn run(
    arguments: &HsmCheckArguments,
    console: &mut Console<'_>,
) -> Result<Exit, HsmError> {
    let (uris, issuer) = subject(arguments)?;
    let marks = match &arguments.config {
        Some(path) => Marks::Beside(path),
        None => Marks::OfUser,
    };
    let count = uris.len();
    let (mut tokens, mut failed, mut errors) = (Vec::new(), Vec::new(), Vec::<HsmError>::new());
    for uri in uris {
        let token = uri.token().unwrap_or("without a label").to_owned();
        // The same PIN may be meant for the next token, and each try counts there.
        if errors.iter().any(|error| error.exit() == Exit::Pin) {
            let why = "not checked, because another token refused its PIN".to_owned();
            failed.push(Failed { token, why });
            continue;
        }
        let checked = pin::with_pin(uri, marks)
            .and_then(|uri| check(&uri, issuer.as_ref(), arguments.seconds, &tokens, console));
        match checked {
            Ok(report) => tokens.push(report),
            Err(error) if count == 1 => return Err(error),
            Err(error) => {
                let why = one_line(&error);
                failed.push(Failed { token, why });
                errors.push(error);
            }
        }
    }
    let (value, text) = (to_json(&tokens, &failed), to_text(&tokens, &failed));
    write_result(console, arguments.json, &value, &text)?;
    for report in &tokens {
        warn(report, console);
    }
    warn_of_uses(&tokens, count, console);
    match HsmError::of_tokens(errors, count) {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}

/// The key on each token, and the certificate that it should belong to.
fn subject(arguments: &HsmCheckArguments) -> Result<(Vec<Pkcs11Uri>, Option<Issuer>), HsmError> {
    if let Some(text) = &arguments.uri {
        let issuer = arguments.certificate.as_deref().map(Issuer::read);
        return Ok((vec![uri(text)?], issuer.transpose()?));
    }
    // The grammar wants one of the two.
    let path = arguments.config.as_deref().unwrap_or("".as_ref());
    let configuration = Configuration::load(path)?;
    let issuer = configuration.issuer()?;
    let activated = pin::activated(configuration)?;
    let uris = activated.signers().iter().map(|signer| match signer {
        SignerLocation::Pkcs11(uri) => Ok(uri.clone()),
        SignerLocation::Software(_) => Err(HsmError::Software),
    });
    Ok((uris.collect::<Result<_, _>>()?, Some(issuer)))
}

/// Checks one token. `before` are those that were checked already.
fn check(
    uri: &Pkcs11Uri,
    issuer: Option<&Issuer>,
    seconds: u16,
    before: &[TokenReport],
    console: &mut Console<'_>,
) -> Result<TokenReport, HsmError> {
    let options = Pkcs11Options {
        sessions: Some(1),
        ..Pkcs11Options::default()
    };
    // The one login. What follows finds the process logged in.
    let pool = SigningPool::pkcs11(uri, options)?;
    if let Some(issuer) = issuer {
        issuer.check_signer(&pool)?;
    }
    let key = report_key(uri)?;
    let (serial, sessions_allowed) = described(uri)?;
    let same = |report: &TokenReport| report.token == key.token && report.serial == serial;
    if before.iter().any(same) {
        return Err(HsmError::SameToken { token: key.token });
    }
    let (mut signers, limited_by) = match key.uses {
        Some(_) => (
            pool.raw_signers(1)?,
            "the key, whose uses are counted: nothing was measured",
        ),
        None => open_sessions(&pool, sessions_allowed)?,
    };
    let input = pool.input_for(TEST_TEXT.as_bytes());
    let mut signature = Signature::empty();
    for (index, signer) in signers.iter_mut().enumerate() {
        signer.sign(&input, &mut signature)?;
        let verified = verify_signature(&pool, TEST_TEXT.as_bytes(), signature.as_bytes());
        verified.map_err(|_| HsmError::SignatureWrong { session: index + 1 })?;
    }
    let sessions_verified = signers.len();
    let steps = match key.uses {
        Some(_) => Vec::new(),
        None => measure(signers, &input, seconds, console)?,
    };
    Ok(TokenReport {
        signer: pool.describe(),
        serial,
        public_key_sha256: public_key_sha256(pool.public_key()),
        certificate_fits: issuer.map(|_| true),
        imported: key.is_imported(),
        attributes_not_as_asked: key.not_as_asked().iter().map(|wrong| wrong.name).collect(),
        uses: key.uses.map(|uses| Uses {
            count: uses.count,
            limit: uses.limit,
        }),
        sessions_verified,
        sessions_limited_by: limited_by,
        recommended_sessions: recommended(&steps).map(|step| step.sessions),
        steps,
        token: key.token,
    })
}

/// The token's serial number, and how many sessions may be tried, as far as it tells.
fn described(uri: &Pkcs11Uri) -> Result<(String, usize), HsmError> {
    let module = inspect_uri(uri)?;
    let mut tokens = module.slots.into_iter().filter_map(|slot| slot.token);
    let Some(token) = tokens.next() else {
        return Ok((String::new(), SESSIONS_TRIED_MAX));
    };
    let sessions = match token.sessions_max {
        SessionLimit::Most(most) => usize::try_from(most).map_or(SESSIONS_TRIED_MAX, |most| {
            most.saturating_sub(SESSIONS_OF_POOL)
                .clamp(1, SESSIONS_TRIED_MAX)
        }),
        _ => SESSIONS_TRIED_MAX,
    };
    Ok((token.serial, sessions))
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

/// Whatever does not keep the key from signing, and should be known.
fn warn(report: &TokenReport, console: &mut Console<'_>) {
    let token = &report.token;
    if report.imported {
        console.note(format_args!(
            "warning: the token '{token}' does not say that it made the key itself (CKA_LOCAL): copies may \
             exist elsewhere"
        ));
    }
    if !report.attributes_not_as_asked.is_empty() {
        console.note(format_args!(
            "warning: the key on '{token}' is not protected as an issuing key should be: {}",
            report.attributes_not_as_asked.join(", ")
        ));
    }
}

/// What a key with limited uses means for a pool over several tokens.
fn warn_of_uses(tokens: &[TokenReport], count: usize, console: &mut Console<'_>) {
    if count > 1 && tokens.iter().any(|report| report.uses.is_some()) {
        console.note(format_args!(
            "warning: a key with limited uses is counted by each HSM for itself: together they sign more often \
             than one limit says, and the rate falls when the first is used up"
        ));
    }
}

/// `issuer.sessions` is one number for every token: the largest that any of them is best with. One that opens
/// fewer signs with those.
fn recommended_for_all(tokens: &[TokenReport]) -> Option<usize> {
    let each = tokens.iter().map(|report| report.recommended_sessions);
    each.max().flatten()
}

fn to_json(tokens: &[TokenReport], failed: &[Failed]) -> Value {
    let failed = failed
        .iter()
        .map(|failed| json!({ "token": failed.token, "why": failed.why }));
    json!({
        "tokens": tokens,
        "failed": failed.collect::<Vec<_>>(),
        "recommended_sessions": recommended_for_all(tokens),
    })
}

fn to_text(tokens: &[TokenReport], failed: &[Failed]) -> String {
    let mut text = String::new();
    for report in tokens {
        text.push_str(&token_text(report));
        text.push('\n');
    }
    for failed in failed {
        let _ = writeln!(
            text,
            "token        {}\nFAILED       {}\n",
            failed.token, failed.why
        );
    }
    if tokens.len() + failed.len() > 1 {
        text.push_str(&capacity_text(tokens));
    }
    if let Some(sessions) = recommended_for_all(tokens) {
        let _ = writeln!(text, "recommended  sessions = {sessions}");
    }
    text
}

/// A line per token with what it signs at its best number of sessions.
fn capacity_text(tokens: &[TokenReport]) -> String {
    let mut text = "sessions  signatures/s    p50 ms    p99 ms  token\n".to_owned();
    let mut together = 0.0;
    for report in tokens {
        if let Some(best) = recommended(&report.steps) {
            together += best.signatures_per_s;
            let _ = writeln!(text, "{}  {}", step_text(best), report.token);
        }
    }
    let together = grouped(f64::round(together) as u64);
    let _ = writeln!(
        text,
        "          {together:>12}                      together\n"
    );
    text
}

fn token_text(report: &TokenReport) -> String {
    let mut text = format!(
        "signer       {}\npublic key   SHA-256 {}\ncertificate  {}\nverified     {}\nlimited by   {}\n",
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
    if let Some(uses) = &report.uses {
        let (count, limit) = (grouped(uses.count), grouped(uses.limit));
        let _ = writeln!(text, "key's uses   {count} of {limit} before this check");
    }
    if !report.steps.is_empty() {
        text.push_str("\nsessions  signatures/s    p50 ms    p99 ms\n");
    }
    for step in &report.steps {
        let _ = writeln!(text, "{}", step_text(step));
    }
    text
}

fn step_text(step: &Step) -> String {
    format!(
        "{:>8}  {:>12}  {:>8.3}  {:>8.3}",
        step.sessions,
        grouped(step.signatures_per_s.round() as u64),
        step.p50_us as f64 / 1_000.0,
        step.p99_us as f64 / 1_000.0,
    )
}
