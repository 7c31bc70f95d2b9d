//! Steps 8 and 9: what was signed is checked and appended, and the log's answers end the cycle.

use std::collections::BTreeMap;
use std::sync::Arc;

use birthmark_hsm::Signature;
use birthmark_log::{Append, AppendError, Commit, Committed, RecordIndex};

use crate::device_key::released;
use crate::fault::Fault;
use crate::hex;
use crate::issuance::{CheckedCertificate, ReservedCertificate};
use crate::lint::{Expectation, Finding};
use crate::pipeline::{Asker, Finished, Pipeline, Work};
use crate::profile::Profile;
use crate::record::{DATA_KEY, DATA_LOT_NUMBER, DATA_PERMIT, IssuedRecord, KEY_GENERATED};
use crate::request::{IssueError, IssueResult};
use crate::slots::Ticket;

impl Pipeline {
    /// Steps 8 and 9: re-read finished certificates and verify their signatures, then append their records.
    pub(crate) fn check_batch(self: &Arc<Self>) {
        let tickets = self.take_signed();
        let mut appends = Vec::with_capacity(tickets.len());
        let mut reread = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let Some(Work::Signed(reserved, signature, asker)) = self.slots.take(ticket) else {
                continue;
            };
            let signed = reserved.signed(&signature, &self.issuer);
            let profile = &self.profiles[asker.claimed.profile].profile;
            let expectation = Expectation {
                issuer: &self.issuer,
                spki: asker.spki(),
                key_algorithm: asker.claimed.key_algorithm,
                rules: profile.rules(),
            };
            match signed.reread(&expectation, &self.verifier) {
                Ok(certificate) => reread.push((certificate, (ticket, signature, asker))),
                Err((finding, reserved)) => {
                    appends.extend(self.refused(ticket, &finding, reserved, signature, asker));
                }
            }
        }
        for (checked, (ticket, signature, asker)) in self.verifier.certificates(reread) {
            appends.extend(match checked {
                Ok(checked) => {
                    self.pool.accept(&signature);
                    Some(self.appending(ticket, checked, asker))
                }
                Err((finding, reserved)) => {
                    self.refused(ticket, &finding, reserved, signature, asker)
                }
            });
        }
        if !appends.is_empty() {
            self.log.append(appends);
        }
    }

    /// Puts a certificate into its slot to wait for its record, with its key as the line will get it.
    fn appending(&self, ticket: Ticket, checked: CheckedCertificate, mut asker: Asker) -> Append {
        if let Err(fault) = self.assemble_delivery(&checked, &mut asker) {
            let fault = Fault::Check(format!("its key cannot be delivered: {fault}"));
            return self.lose(ticket, &checked.refused(), fault, asker);
        }
        let profile = &self.profiles[asker.claimed.profile].profile;
        let record = self.issued_record(&checked, profile, &asker);
        let reservation = checked.reservation();
        self.slots.put(ticket, Work::Appending(checked, asker));
        Append {
            ticket,
            reservation,
            record,
        }
    }

    /// A certificate that must not be released: signed again where the signature alone is wrong, or lost.
    fn refused(
        self: &Arc<Self>,
        ticket: Ticket,
        finding: &Finding,
        reserved: ReservedCertificate,
        signature: Signature,
        asker: Asker,
    ) -> Option<Append> {
        if finding.is_wrong_signature() {
            return self.sign_again(ticket, reserved, signature, asker);
        }
        let fault = Fault::Check(finding.to_string());
        Some(self.lose(ticket, &reserved, fault, asker))
    }

    fn issued_record(
        &self,
        checked: &CheckedCertificate,
        profile: &Profile,
        asker: &Asker,
    ) -> Vec<u8> {
        let request = &asker.submitted.request;
        let mut data: BTreeMap<&str, &str> = request
            .data
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        profile.add_data(&mut data);
        let replaces = asker.claimed.replaces;
        let permit = replaces
            .and_then(|replaced| replaced.permit)
            .map(|digest| hex::encode(&digest));
        if let Some(permit) = &permit {
            data.insert(DATA_PERMIT, permit);
        }
        let place = asker.claimed.lot.number().map(|number| number.to_string());
        if let Some(place) = &place {
            data.insert(DATA_LOT_NUMBER, place);
        }
        if asker.claimed.generated.is_some() {
            data.insert(DATA_KEY, KEY_GENERATED);
        }
        IssuedRecord {
            time_ms: 0,
            issuer: self.issuer.key_identifier(),
            profile: profile.name(),
            profile_digest: profile.digest(),
            lot: request.lot.as_deref(),
            requester: request.requester.as_deref(),
            request_id: &asker.claimed.request_id,
            key_fingerprint: &asker.claimed.key_fingerprint,
            identity: asker.claimed.identity.as_deref(),
            replaces: replaces.map(|replaced| replaced.index),
            data,
            certificate: checked.der(),
        }
        .encode()
    }

    /// One answer of the log. Returns the finished certificate, if this ends one.
    pub(crate) fn commit(self: &Arc<Self>, commit: Commit) -> Option<Finished> {
        let Commit { ticket, outcome } = commit;
        match (self.slots.take(ticket)?, outcome) {
            (Work::Reserving(tbs, asker), Ok(Committed::Reserved(id))) => {
                self.reserved(ticket, tbs, id, asker);
                None
            }
            (Work::Appending(checked, mut asker), Ok(Committed::Appended(RecordIndex(index)))) => {
                asker.claimed.lot.used();
                let kept = asker.claimed.generated.take();
                let result = Ok(released(checked.logged(index), kept));
                Some(asker.finished(ticket, result))
            }
            (Work::Losing(fault, asker), outcome) => {
                self.counters.lost.add(u64::from(outcome.is_ok()));
                if outcome.is_ok() {
                    self.forget_key(&asker);
                }
                Some(asker.finished(ticket, Err(IssueError::Fault(fault))))
            }
            (Work::Appending(checked, asker), Err(error)) if concerns_item_alone(&error) => {
                let append = self.lose(ticket, &checked.refused(), log_fault(&error), asker);
                self.log.append(vec![append]);
                None
            }
            (Work::Reserving(_, asker), Err(error)) => {
                self.forget_key(&asker);
                Some(asker.finished(ticket, Err(IssueError::Fault(log_fault(&error)))))
            }
            // Whether the record is there shows at the next start, so its key stays.
            (Work::Appending(_, asker), Err(error)) => {
                Some(asker.finished(ticket, Err(IssueError::Fault(log_fault(&error)))))
            }
            (work, _) => {
                self.slots.put(ticket, work);
                None
            }
        }
    }
}

impl Asker {
    pub(crate) fn finished(self, ticket: Ticket, result: IssueResult) -> Finished {
        (ticket, self.claimed.claim, self.submitted.reply, result)
    }
}

fn log_fault(error: &AppendError) -> Fault {
    match error {
        AppendError::NoSpace { .. } => Fault::NoSpace(error.to_string()),
        AppendError::Clock(_) => Fault::Clock(error.to_string()),
        _ => Fault::Log(error.to_string()),
    }
}

/// Whether the log refused this item and goes on with others.
fn concerns_item_alone(error: &AppendError) -> bool {
    !matches!(error, AppendError::Poisoned { .. } | AppendError::Closing)
}
