//! Step 7: signatures, repeated where one does not verify, and reservations that are lost.

use std::sync::Arc;

use birthmark_hsm::{SignError, SignJob, Signature};
use birthmark_log::{Append, ReservationId};

use crate::fault::Fault;
use crate::issuance::ReservedCertificate;
use crate::lint::rules::ISSUER_SIGNATURE;
use crate::pipeline::{Asker, Pipeline, Work};
use crate::slots::Ticket;
use crate::tbs::TbsCertificate;

impl Pipeline {
    /// The reservation is durable: from here a crash leaves a trace.
    pub(super) fn reserved(
        self: &Arc<Self>,
        ticket: Ticket,
        tbs: TbsCertificate,
        reservation: ReservationId,
        asker: Asker,
    ) {
        self.slots
            .put(ticket, Work::Signing(tbs.reserved(reservation), asker));
        if self.pool.signs_inline() {
            self.enqueue_signing(ticket);
        } else {
            self.submit_to_pool(ticket);
        }
    }

    /// Step 7 for a software key: signs on this worker. The completion queues the check.
    pub(crate) fn sign_batch(self: &Arc<Self>) {
        for _ in 0..self.verifier.certificate_batch() {
            let Some(ticket) = self.to_sign.pop() else {
                return;
            };
            self.submit_to_pool(ticket);
        }
    }

    fn submit_to_pool(&self, ticket: Ticket) {
        let Some(work) = self.slots.take(ticket) else {
            return;
        };
        let Work::Signing(reserved, asker) = work else {
            return self.slots.put(ticket, work);
        };
        let job = self.sign_job(ticket, &reserved);
        self.slots.put(ticket, Work::Signing(reserved, asker));
        self.pool.submit(job);
    }

    fn sign_job(&self, ticket: Ticket, reserved: &ReservedCertificate) -> SignJob {
        SignJob {
            ticket,
            input: reserved.sign_input(),
            completion: self.relay.clone(),
        }
    }

    /// A signature, or the reason why there is none.
    pub(crate) fn signed(self: &Arc<Self>, ticket: Ticket, outcome: Result<Signature, SignError>) {
        let Some(work) = self.slots.take(ticket) else {
            return;
        };
        let Work::Signing(reserved, asker) = work else {
            return self.slots.put(ticket, work);
        };
        match outcome {
            Ok(signature) => {
                self.slots
                    .put(ticket, Work::Signed(reserved, signature, asker));
                self.enqueue_signed(ticket);
            }
            Err(error) => {
                let append = self.lose(ticket, &reserved, error.into(), asker);
                self.log.append(vec![append]);
            }
        }
    }

    /// Closes a reservation as lost. The answer follows when that is durable.
    pub(super) fn lose(
        &self,
        ticket: Ticket,
        reserved: &ReservedCertificate,
        fault: Fault,
        mut asker: Asker,
    ) -> Append {
        if let Fault::Check(_) = fault {
            asker.claimed.serial.set_aside();
        }
        let record = self.lost_record(reserved.tbs());
        self.slots.put(ticket, Work::Losing(fault, asker));
        Append {
            ticket,
            reservation: reserved.reservation(),
            record,
        }
    }

    /// Step 7 once more, for a signature that does not verify: the same TBS and serial number, by another
    /// session. Where the pool has no attempt left, the reservation is lost.
    pub(super) fn sign_again(
        &self,
        ticket: Ticket,
        reserved: ReservedCertificate,
        signature: Signature,
        asker: Asker,
    ) -> Option<Append> {
        let job = self.sign_job(ticket, &reserved);
        // First: the next signature may be there before the call returns.
        self.slots.put(ticket, Work::Signing(reserved, asker));
        let why = self.pool.reject(signature, job).err()?;
        match self.slots.take(ticket)? {
            Work::Signing(reserved, asker) => {
                let fault = Fault::Check(format!("{ISSUER_SIGNATURE}: {why}"));
                Some(self.lose(ticket, &reserved, fault, asker))
            }
            work => {
                self.slots.put(ticket, work);
                None
            }
        }
    }
}
