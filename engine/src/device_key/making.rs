//! The steps of the cycle that only generated keys take: make, encrypt, keep.

use std::sync::Arc;

use birthmark_log::{Log, RecordIndex, Reservation};

use super::generate::{GeneratedKey, NoKey};
use super::seal::{EncryptedKey, KeyDelivery, Sealers};
use super::spool::{KeySpool, Room, SpoolEntry, SpoolError};
use super::{Acknowledgement, Serial};
use crate::claims::ClaimedRequest;
use crate::csr::{CertificationRequest, VerifiedRequest};
use crate::engine::MAX_IN_FLIGHT_MAX;
use crate::fault::Fault;
use crate::index_keys::{SERIAL_SPACE, serial_index_key};
use crate::issuance::{CheckedCertificate, LoggedCertificate};
use crate::pipeline::{Asker, BoundProfile, Finished, Pipeline, Submitted, Work};
use crate::profile::Profile;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::request::{IssueError, IssueResult, IssueStatus, Issued, Request, RequestKey};
use crate::slots::Ticket;
use crate::tbs::{TbsCertificate, prepare};
use crate::validate::{check_data, check_permit_size};
use crate::verification::SignatureVerifier;

/// What a station makes keys with.
#[derive(Debug)]
pub(crate) struct KeyMaker {
    pub(crate) sealers: Sealers,
    pub(crate) spool: KeySpool,
    /// Keys without a record that the start dropped.
    pub(crate) dropped: usize,
}

/// The encrypted key of a certificate in flight, and how the spool knows it.
#[derive(Debug)]
pub(crate) struct KeptKey {
    pub(crate) serial: Serial,
    /// As the spool holds it, and once the certificate is checked as the line gets it.
    pub(crate) key: EncryptedKey,
}

impl KeyMaker {
    /// Encrypts a key that was claimed. Room is taken first: a key that could not be kept is not encrypted for
    /// anybody. Nor is it for a recipient that is not valid now.
    pub(crate) fn seal(
        &self,
        profile: &Profile,
        key: &GeneratedKey,
        now_s: u64,
    ) -> Result<(EncryptedKey, Room), Fault> {
        let rule = profile.generated_key().ok_or(Fault::Random)?;
        self.sealers.check_valid_at(rule.delivery, now_s)?;
        let room = self
            .spool
            .take_room(self.sealers.bytes_max(rule.delivery))?;
        Ok((self.sealers.seal(rule.delivery, key)?, room))
    }

    /// Lets keys go whose record never came: a crash between the spool and the log leaves them. They are among
    /// the newest, because no more were in flight; whoever asks again gets another key.
    pub(crate) fn drop_unrecorded(&self, log: &Log) -> Result<usize, SpoolError> {
        let newest = self.spool.newest(MAX_IN_FLIGHT_MAX);
        let dropped: Vec<Serial> = newest
            .into_iter()
            .filter(|serial| is_unrecorded(log, serial))
            .collect();
        if dropped.is_empty() {
            return Ok(0);
        }
        let outcomes = self.spool.acknowledge(&dropped)?;
        let done = |outcome: &&Acknowledgement| **outcome == Acknowledgement::Done;
        Ok(outcomes.iter().filter(done).count())
    }
}

/// Whether the log has a certificate for each of these serial numbers.
pub(crate) fn are_recorded(log: &Log, serials: &[Serial]) -> bool {
    serials.iter().all(|serial| {
        let found = log.find(SERIAL_SPACE, &serial_index_key(serial));
        matches!(found, Ok(Some(_))) && !is_unrecorded(log, serial)
    })
}

/// Whether the log certainly has no certificate with this serial number. What cannot be read may be one.
fn is_unrecorded(log: &Log, serial: &Serial) -> bool {
    let Ok(found) = log.find(SERIAL_SPACE, &serial_index_key(serial)) else {
        return false;
    };
    let Some(RecordIndex(index)) = found else {
        return true;
    };
    match log.read(RecordIndex(index)) {
        Ok(record) => matches!(Record::decode(&record), Ok(Record::Lost(_))),
        Err(_) => false,
    }
}

impl Pipeline {
    /// Makes the key of a request that comes without one. `None` for all others.
    pub(crate) fn make_key(&self, request: &Request) -> Result<Option<GeneratedKey>, IssueError> {
        if request.key != RequestKey::Generated {
            return Ok(None);
        }
        check_data(request.lot.as_deref(), &request.data)?;
        check_permit_size(request.permit.as_deref())?;
        let (_, profile) = self.profile(&request.profile)?;
        let rule = profile
            .generated_key()
            .ok_or_else(|| Rejection::KeyNotGenerated(profile.name().to_owned()))?;
        match GeneratedKey::generate(rule.algorithm) {
            Ok(key) => Ok(Some(key)),
            Err(NoKey) => Err(Fault::Random.into()),
        }
    }

    /// The TBS of a claimed request; where its key was made here, that key encrypted, and its room in the spool.
    pub(crate) fn prepare(
        &self,
        claimed: &ClaimedRequest<'_>,
        profile: usize,
        key: Option<&GeneratedKey>,
        now_s: u64,
    ) -> Result<(TbsCertificate, Option<KeptKey>, Option<Room>), Fault> {
        let BoundProfile {
            profile, template, ..
        } = &self.profiles[profile];
        let tbs = prepare(claimed, profile, template, &self.issuer, &self.pool, now_s)?;
        let sealed = match (key, &self.keys) {
            (Some(key), Some(keys)) => Some(keys.seal(profile, key, now_s)?),
            _ => None,
        };
        let serial = tbs.serial;
        let (kept, room) = sealed
            .map(|(key, room)| (KeptKey { serial, key }, room))
            .unzip();
        Ok((tbs, kept, room))
    }

    /// The answer to a request that was answered before.
    pub(crate) fn existing(
        &self,
        request: &Request,
        certificate: LoggedCertificate,
    ) -> IssueResult {
        let key = match (&request.key, &self.keys) {
            (RequestKey::Csr(_), _) => None,
            (RequestKey::Generated, None) => Some(KeyDelivery::NotKept),
            (RequestKey::Generated, Some(keys)) => {
                let kept = keys.spool.get(certificate.serial());
                let kept = kept.map_err(Fault::from)?;
                Some(match kept {
                    Some(key) => {
                        let (device, serial) = (certificate.as_der(), certificate.serial());
                        let key = keys.sealers.assemble(key, device, serial, &self.issuer)?;
                        KeyDelivery::Encrypted(key)
                    }
                    None if keys.spool.had_key_of(certificate.index()) => KeyDelivery::Acknowledged,
                    None => KeyDelivery::NotKept,
                })
            }
        };
        Ok(Issued {
            status: IssueStatus::Existing,
            certificate,
            key,
        })
    }

    /// Puts what the line will get in the place of what the spool holds. Done by the worker that checked the
    /// certificate: once it is in the log, the log's thread has nothing left to do but to hand it out.
    pub(crate) fn assemble_delivery(
        &self,
        checked: &CheckedCertificate,
        asker: &mut Asker,
    ) -> Result<(), Fault> {
        if let (Some(kept), Some(keys)) = (&mut asker.claimed.generated, &self.keys) {
            let (spooled, device) = (kept.key.clone(), checked.der());
            kept.key = keys
                .sealers
                .assemble(spooled, device, &kept.serial, &self.issuer)?;
        }
        Ok(())
    }

    /// Sends encrypted keys to the spool. Their work waits in its slots.
    pub(crate) fn keep_keys(&self, entries: Vec<SpoolEntry>) {
        let Some(keys) = &self.keys else { return };
        keys.spool.log_has(self.log.len());
        if !entries.is_empty() {
            keys.spool.write(entries, self.slots.in_use());
        }
    }

    /// The spool's answers: what is durable there goes on to be reserved.
    pub(crate) fn spooled(self: &Arc<Self>, outcomes: Vec<(Ticket, Result<(), SpoolError>)>) {
        let mut reservations: Vec<Reservation> = Vec::with_capacity(outcomes.len());
        let mut finished: Vec<Finished> = Vec::new();
        for (ticket, outcome) in outcomes {
            match (self.slots.take(ticket), outcome) {
                (Some(Work::Spooling(tbs, asker)), Ok(())) => {
                    reservations.push(self.reserving(ticket, tbs, asker));
                }
                (Some(Work::Spooling(_, asker)), Err(error)) => {
                    let result = Err(IssueError::Fault(error.into()));
                    finished.push(asker.finished(ticket, result));
                }
                (Some(work), _) => self.slots.put(ticket, work),
                (None, _) => {}
            }
        }
        if !reservations.is_empty() {
            self.log.reserve(reservations);
        }
        if !finished.is_empty() {
            self.finish(finished);
        }
    }

    /// Puts work into its slot to wait for its reservation.
    pub(crate) fn reserving(
        &self,
        ticket: Ticket,
        tbs: TbsCertificate,
        asker: Asker,
    ) -> Reservation {
        let reservation = self.reservation(ticket, &tbs, &asker.submitted, &asker.claimed);
        self.slots.put(ticket, Work::Reserving(tbs, asker));
        reservation
    }

    /// No certificate will follow: the key that was made for it is of no use to anybody.
    pub(crate) fn forget_key(&self, asker: &Asker) {
        if let (Some(keys), Some(kept)) = (&self.keys, &asker.claimed.generated) {
            keys.spool.drop_key(kept.serial);
        }
    }
}

/// The answer to a request whose certificate is now in the log.
pub(crate) fn released(certificate: LoggedCertificate, kept: Option<KeptKey>) -> Issued {
    Issued {
        status: IssueStatus::Issued,
        certificate,
        key: kept.map(|kept| KeyDelivery::Encrypted(kept.key)),
    }
}

/// Proves possession: by the signature of a device's own request, or by having made the key. The results are in
/// the order of the chunk.
pub(crate) fn prove_possession<'a>(
    verifier: &SignatureVerifier,
    chunk: &'a [Submitted],
    keys: &'a [Result<Option<GeneratedKey>, IssueError>],
    parse: impl Fn(&'a Request) -> Result<CertificationRequest<'a>, Rejection>,
) -> Vec<Result<VerifiedRequest<'a>, IssueError>> {
    let own = chunk.iter().zip(keys);
    let own = own.filter(|(_, key)| matches!(key, Ok(None)));
    let parsed = own.map(|(item, _)| parse(&item.request)).collect();
    let mut verified = verifier.requests(parsed).into_iter();
    let proven = keys.iter().map(|key| match key {
        Ok(Some(key)) => {
            VerifiedRequest::of_generated(key).map_err(|NoKey| IssueError::Fault(Fault::Random))
        }
        Ok(None) => match verified.next() {
            Some(verified) => verified.map_err(IssueError::Rejected),
            None => Err(Fault::Closing.into()),
        },
        Err(error) => Err(error.clone()),
    });
    proven.collect()
}
