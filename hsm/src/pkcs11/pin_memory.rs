//! What this process knows of logins: tokens that refused a PIN, and logins under way.
//!
//! It is what the files of [`pin_mark`](super::pin_mark) are between processes, and holds also where
//! nothing is kept in files.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use super::module::lock;
use crate::error::PinError;

/// Most tokens remembered. No process talks to a hundred; beyond this no PIN is sent to a token that
/// is not remembered, because a refusal could be forgotten.
const TOKENS_MAX: usize = 1024;

/// A token, as far as its marks tell tokens apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenName {
    /// The canonical path of its module.
    pub(super) module: PathBuf,
    pub(super) label: String,
    pub(super) serial: String,
}

#[derive(Debug)]
enum Standing {
    LoginUnderWay,
    Refused {
        reason: String,
        /// The file that a person removes; `None`: only a new process sends a PIN again.
        mark: Option<PathBuf>,
    },
}

#[derive(Default)]
struct Memory {
    tokens: Mutex<HashMap<TokenName, Standing>>,
    ended: Condvar,
}

static MEMORY: LazyLock<Memory> = LazyLock::new(Memory::default);

/// Fails where the token refused a PIN in this process and nobody cleared that.
pub(super) fn check(token: &TokenName) -> Result<(), PinError> {
    MEMORY.check(&mut lock(&MEMORY.tokens), token)
}

/// A login begins, after any other of this process to the same token has ended.
///
/// # Errors
/// No PIN may be sent: it was refused, or another login has not ended within `limit`.
pub(super) fn begin(token: &TokenName, limit: Duration) -> Result<UnderWay, PinError> {
    MEMORY.begin(token, limit)?;
    Ok(UnderWay {
        token: token.clone(),
        ended: false,
    })
}

/// The token refused a PIN, or may have. `mark` is the file that says so.
pub(super) fn refused(token: &TokenName, reason: String, mark: Option<&Path>) {
    let mark = mark.map(Path::to_owned);
    MEMORY.set(token, Standing::Refused { reason, mark });
}

/// A login of this process under way. If it goes without an end, nobody knows what the token said.
#[derive(Debug)]
pub(super) struct UnderWay {
    token: TokenName,
    ended: bool,
}

impl UnderWay {
    /// Nothing was sent, or the answer is known and a refusal remembered.
    pub(super) fn ends(mut self) {
        self.ended = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        MEMORY.end(&self.token, self.ended);
    }
}

impl Memory {
    fn check(
        &self,
        tokens: &mut HashMap<TokenName, Standing>,
        token: &TokenName,
    ) -> Result<(), PinError> {
        let Some(Standing::Refused { reason, mark }) = tokens.get(token) else {
            return Ok(());
        };
        let label = token.label.clone();
        let reason = reason.clone();
        match mark {
            None => Err(PinError::RefusedHere {
                token: label,
                reason,
            }),
            // A person removed it.
            Some(mark) if matches!(mark.try_exists(), Ok(false)) => {
                tokens.remove(token);
                Ok(())
            }
            Some(mark) => Err(PinError::RefusedBefore {
                token: label,
                reason,
                mark: mark.clone(),
            }),
        }
    }

    fn begin(&self, token: &TokenName, limit: Duration) -> Result<(), PinError> {
        let deadline = Instant::now() + limit;
        let mut tokens = lock(&self.tokens);
        loop {
            self.check(&mut tokens, token)?;
            let full = tokens.len() >= TOKENS_MAX;
            match tokens.entry(token.clone()) {
                Entry::Vacant(_) if full => {
                    return Err(PinError::RefusedHere {
                        token: token.label.clone(),
                        reason: format!("{TOKENS_MAX} other tokens did, no more are remembered"),
                    });
                }
                Entry::Vacant(place) => {
                    place.insert(Standing::LoginUnderWay);
                    return Ok(());
                }
                Entry::Occupied(_) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PinError::LoginElsewhere {
                    token: token.label.clone(),
                    waited: limit,
                });
            }
            let waited = self.ended.wait_timeout(tokens, left);
            tokens = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn set(&self, token: &TokenName, standing: Standing) {
        let mut tokens = lock(&self.tokens);
        // Whoever logs in has a place already. A token that says so by itself when there is none gets no
        // PIN either: see `begin`.
        if tokens.len() < TOKENS_MAX || tokens.contains_key(token) {
            tokens.insert(token.clone(), standing);
        }
    }

    fn end(&self, token: &TokenName, known: bool) {
        let mut tokens = lock(&self.tokens);
        if let Some(Standing::LoginUnderWay) = tokens.get(token) {
            if known {
                tokens.remove(token);
            } else {
                let reason = "a login did not end".to_owned();
                tokens.insert(token.clone(), Standing::Refused { reason, mark: None });
            }
        }
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn token(label: &str) -> TokenName {
        TokenName {
            module: PathBuf::from("/pin_memory"),
            label: label.to_owned(),
            serial: "1".to_owned(),
        }
    }

    #[test]
    fn a_refusal_lasts_until_its_file_is_gone_and_without_one_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("mark");
        fs::write(&mark, "").unwrap();
        let (kept, lost) = (token("kept"), token("lost"));
        for (token, mark) in [(&kept, Some(mark.as_path())), (&lost, None)] {
            begin(token, LONG).unwrap().ends();
            let login = begin(token, LONG).unwrap();
            refused(token, "CKR".to_owned(), mark);
            login.ends();
            assert!(check(token).unwrap_err().is_lasting());
            assert!(begin(token, LONG).unwrap_err().is_lasting());
        }
        fs::remove_file(&mark).unwrap();
        check(&kept).unwrap();
        begin(&kept, LONG).unwrap().ends();
        let error = begin(&lost, LONG).unwrap_err();
        assert!(matches!(error, PinError::RefusedHere { .. }), "{error}");
        let other = TokenName {
            serial: "2".to_owned(),
            ..lost
        };
        begin(&other, LONG).unwrap().ends();
    }

    #[test]
    fn logins_to_one_token_come_one_after_the_other() {
        let token = token("in turn");
        let first = begin(&token, LONG).unwrap();
        let error = begin(&token, Duration::ZERO).unwrap_err();
        assert!(matches!(error, PinError::LoginElsewhere { .. }), "{error}");
        thread::scope(|scope| {
            let second = scope.spawn(|| begin(&token, LONG).map(UnderWay::ends));
            refused(&token, "CKR".to_owned(), None);
            first.ends();
            assert!(second.join().unwrap().unwrap_err().is_lasting());
        });
    }

    #[test]
    fn a_login_without_an_end_counts_as_refused() {
        let token = token("no end");
        drop(begin(&token, LONG).unwrap());
        assert!(check(&token).unwrap_err().is_lasting());
    }

    #[test]
    fn a_full_memory_forgets_nothing() {
        let memory = Memory::default();
        let refused = || Standing::Refused {
            reason: String::new(),
            mark: None,
        };
        for number in 0..TOKENS_MAX + 5 {
            memory.set(&token(&number.to_string()), refused());
        }
        assert_eq!(lock(&memory.tokens).len(), TOKENS_MAX);
        for number in [0, TOKENS_MAX - 1, TOKENS_MAX, TOKENS_MAX + 4] {
            let outcome = memory.begin(&token(&number.to_string()), LONG);
            assert!(outcome.unwrap_err().is_lasting(), "{number}");
        }
    }
}
