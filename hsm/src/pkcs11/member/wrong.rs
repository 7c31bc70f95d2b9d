//! Signatures that do not verify: counted, and three in a row open the token's breaker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Member, Trip};
use crate::error::SignError;
use crate::event::{PoolEventKind, TokenState};
use crate::pkcs11::module::lock;
use crate::pkcs11::shared::{FAILURES_IN_A_ROW, Shared};

/// A token's wrong signatures. A session counts each as a signature before anybody can know; these
/// figures move it to where it belongs.
#[derive(Default)]
pub(super) struct Wrong {
    /// Their jobs were signed again.
    pub(super) again: u64,
    /// Their jobs had no attempt left.
    pub(super) failed: u64,
    /// Test signatures asked of the token.
    pub(super) tests: u64,
    /// The token does not sign before a test signature of it verified, whatever became of it
    /// meanwhile.
    pub(super) suspected: bool,
}

impl Wrong {
    pub(super) fn total(&self) -> u64 {
        self.again + self.failed
    }
}

impl Member {
    /// A signature of this generation verified.
    pub(in crate::pkcs11) fn signed_rightly(&self, generation: u64) {
        // Looked at first, so that callers on all processors do not fight for the cache line.
        if self.wrong_in_a_row.load(Ordering::Relaxed) != 0 && self.generation() == generation {
            self.wrong_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// A signature did not verify; its job is signed `again` or has no attempt left. Those that were
    /// made before the breaker opened last are counted, and say nothing about the token as it is.
    pub(in crate::pkcs11) fn signed_wrongly(&self, shared: &Shared, generation: u64, again: bool) {
        let mut control = lock(&self.control);
        control.wrong.again += u64::from(again);
        control.wrong.failed += u64::from(!again);
        let token = Arc::clone(&control.label);
        drop(control);
        shared.tell(self, PoolEventKind::WrongSignature { again });
        if self.generation() != generation {
            return;
        }
        let in_a_row = self.wrong_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= FAILURES_IN_A_ROW {
            let fault = SignError::WrongSignature { token };
            let why = fault.to_string();
            let to = TokenState::WrongSignatures;
            self.trip(shared, generation, Trip { to, why, fault });
        }
    }

    /// Whether the token has to show a signature that verifies before it signs again.
    pub(in crate::pkcs11) fn is_suspected(&self) -> bool {
        lock(&self.control).wrong.suspected
    }

    /// A test signature is asked of the token.
    pub(in crate::pkcs11) fn counts_test(&self) {
        lock(&self.control).wrong.tests += 1;
    }
}
