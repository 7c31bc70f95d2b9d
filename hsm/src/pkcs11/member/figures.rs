//! What a token has done so far.

use std::sync::Arc;

use super::Member;
use crate::metrics::TokenMetrics;
use crate::pkcs11::module::lock;

impl Member {
    /// Attempts and signatures so far, without those that were wrong.
    pub(in crate::pkcs11) fn progress(&self) -> (u64, u64) {
        let control = lock(&self.control);
        let totals = (control.totals.attempts, control.totals.signatures);
        let (attempts, signatures) = control
            .entries
            .iter()
            .map(|entry| entry.seat.read(|tally| (tally.attempts, tally.signatures)))
            .fold(totals, |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (attempts, signatures.saturating_sub(control.wrong.total()))
    }

    pub(in crate::pkcs11) fn metrics(&self) -> TokenMetrics {
        let control = lock(&self.control);
        let mut sum = control.totals.clone();
        let mut in_flight = 0;
        for entry in &control.entries {
            entry.seat.read(|tally| {
                sum.add(tally);
                in_flight += usize::from(tally.in_attempt);
            });
        }
        TokenMetrics {
            label: Arc::clone(&control.label),
            state: control.state,
            why: Arc::clone(&control.why),
            sessions: control.entries.iter().filter(|entry| !entry.left).count(),
            in_flight,
            attempts: sum.attempts,
            signatures: sum.signatures.saturating_sub(control.wrong.total()),
            retries: sum.retries + control.wrong.again,
            failed: sum.failed + control.wrong.failed,
            abandoned: sum.abandoned,
            wrong_signatures: control.wrong.total(),
            tests: control.wrong.tests,
            late: control.late,
            inside: control.inside,
            latency: sum.latency,
            history: control.history.iter().cloned().collect(),
            errors: sum.errors,
        }
    }
}
