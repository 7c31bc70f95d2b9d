//! The start of a pool: every token is opened by its keeper, and their keys are compared.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use cryptoki::slot::Slot;

use super::key::TokenKey;
use super::shared::{Reference, Shared};
use crate::algorithm::KeyAlgorithm;
use crate::error::{ModuleError, OpenError, PinError, TokenError};
use crate::event::TokenState;
use crate::public_key::PublicKey;

/// How long a start waits for the first token: a person may have to enter a PIN on its keypad.
const START_WAIT_MAX: Duration = Duration::from_secs(120);

/// What a keeper tells whoever opens the pool.
pub(super) enum Report {
    /// Its token was opened, or was not.
    Opened(usize, Result<Seen, OpenError>),
    /// Its sessions sign, or could not be started.
    Seated(Result<(), OpenError>),
}

/// What was found on a token.
pub(super) struct Seen {
    label: Arc<str>,
    module: PathBuf,
    slot: Slot,
    public_key: PublicKey,
    algorithm: KeyAlgorithm,
}

impl Seen {
    pub(super) fn of(key: &TokenKey) -> Seen {
        let token = key.token();
        Seen {
            label: Arc::clone(token.label()),
            module: token.module().path().to_owned(),
            slot: token.slot(),
            public_key: key.public_key().clone(),
            algorithm: key.algorithm(),
        }
    }
}

/// Waits for the tokens, compares their keys, and lets them sign. Goes on without those that are
/// down, as long as one is up.
pub(super) fn start(shared: &Shared, reports: &Receiver<Report>) -> Result<(), OpenError> {
    let (opened, refused) = wait_for_tokens(shared, reports)?;
    if opened.is_empty() {
        let first = refused.into_iter().min_by_key(|(place, _)| *place);
        return Err(first.map_or(
            OpenError::NoAnswer {
                waited: START_WAIT_MAX,
            },
            |(_, error)| error,
        ));
    }
    compare(&opened)?;
    let first = &opened[0].1;
    let reference = Reference {
        public_key: first.public_key.clone(),
        algorithm: first.algorithm,
    };
    // Nobody else sets it.
    let _ = shared.reference.set(reference);
    for member in &shared.members {
        member.bell.ring();
    }
    let deadline = Instant::now() + START_WAIT_MAX;
    let (mut seated, mut failed) = (0, None);
    while seated < opened.len() {
        match reports.recv_deadline(deadline) {
            Ok(Report::Seated(outcome)) => {
                seated += 1;
                failed = failed.or(outcome.err());
            }
            // A token that comes late is compared by its keeper.
            Ok(Report::Opened(..)) => {}
            Err(_) => break,
        }
    }
    let up = |state| state == TokenState::Up;
    match failed {
        Some(error) if !shared.members.iter().any(|member| up(member.state())) => Err(error),
        _ => Ok(()),
    }
}

type Opened = Vec<(usize, Seen)>;

/// In the order of the list: those that opened, and why others did not.
fn wait_for_tokens(
    shared: &Shared,
    reports: &Receiver<Report>,
) -> Result<(Opened, Vec<(usize, OpenError)>), OpenError> {
    let mut deadline = Instant::now() + START_WAIT_MAX;
    let (mut opened, mut refused) = (Vec::new(), Vec::new());
    while opened.len() + refused.len() < shared.members.len() {
        match reports.recv_deadline(deadline) {
            Ok(Report::Opened(place, Ok(seen))) => {
                if opened.is_empty() {
                    // With one up, the others get as long as any call may last.
                    deadline = deadline.min(Instant::now() + shared.options.call_limit);
                }
                opened.push((place, seen));
            }
            Ok(Report::Opened(_, Err(error))) if is_configuration(&error) => return Err(error),
            Ok(Report::Opened(place, Err(error))) => refused.push((place, error)),
            Ok(Report::Seated(..)) => {}
            Err(_) => break,
        }
    }
    opened.sort_by_key(|(place, _)| *place);
    Ok((opened, refused))
}

/// Every key against the first, and every token against every other.
fn compare(opened: &[(usize, Seen)]) -> Result<(), OpenError> {
    for (number, (_, second)) in opened.iter().enumerate() {
        for (_, first) in &opened[..number] {
            if first.module == second.module && first.slot == second.slot {
                return Err(OpenError::SameToken {
                    token: first.label.to_string(),
                });
            }
            if first.public_key != second.public_key {
                return Err(OpenError::KeysDiffer {
                    first: first.label.to_string(),
                    second: second.label.to_string(),
                });
            }
        }
    }
    Ok(())
}

/// Whether a person has to correct the configuration: the pool does not start around that. What is
/// left is a token that is down, that refused its PIN, or that gets none.
fn is_configuration(error: &OpenError) -> bool {
    match error {
        OpenError::Module(error) => matches!(
            error,
            ModuleError::NotNamed
                | ModuleError::NameNotFound { .. }
                | ModuleError::Missing { .. }
                | ModuleError::NotAModule { .. }
        ),
        OpenError::Token(error) => matches!(error, TokenError::Ambiguous { .. }),
        OpenError::Pin(PinError::LoginElsewhere { .. } | PinError::MarkUnwritable { .. }) => false,
        OpenError::Pin(error) => !error.is_lasting(),
        OpenError::Call { .. } => false,
        _ => true,
    }
}
