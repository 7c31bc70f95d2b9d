//! The issuance cycle, step by step. Which worker runs which step, and when, is [`crate::pipeline`]'s
//! business.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use birthmark_hsm::{SignError, SignJob, Signature};
use birthmark_log::{
    Append, AppendError, Commit, Committed, RECORD_BYTES_MAX, RecordIndex, Reservation,
    ReservationId,
};

use crate::claims::{Claim, ClaimId, ClaimOutcome, ClaimedRequest};
use crate::csr::{CertificateSigningRequestDer, CertificationRequest, VerifiedRequest};
use crate::device_key::{GeneratedKey, KeptKey, Room, SpoolEntry, prove_possession};
use crate::fault::Fault;
use crate::hex;
use crate::issuance::{CheckedCertificate, ReservedCertificate};
use crate::lint::Expectation;
use crate::lint::rules::ISSUER_SIGNATURE;
use crate::pipeline::{
    Asker, CHECK_BATCH, ClaimedParts, DeviceSpki, Finished, PREPARE_BATCH, Pipeline, Submitted,
    Work,
};
use crate::profile::Profile;
use crate::record::{DATA_KEY, DATA_PERMIT, IssuedRecord, KEY_GENERATED, LostRecord};
use crate::reissue::{Candidate, Judge};
use crate::rejection::Rejection;
use crate::request::{IssueError, IssueResult, Request};
use crate::serial_offer::{SerialOffer, SerialOutcome, SerialState};
use crate::slots::Ticket;
use crate::tbs::TbsCertificate;
use crate::validate::{ValidatedRequest, check_data, check_permit_size, validate};
use crate::weak_key::check_known;

/// What the first half of the cycle makes of one request.
enum Intent {
    Answer(IssueResult),
    Wait {
        holder: ClaimId,
        same: bool,
    },
    Reserve(Box<Prepared>),
    Release(Claim, IssueError),
    /// From the start, without the claim.
    Again(Option<Claim>),
}

/// A certificate to be reserved.
struct Prepared {
    tbs: TbsCertificate,
    claimed: ClaimedParts,
    /// Room in the spool, where its key was made here.
    room: Option<Room>,
}

impl Pipeline {
    /// Steps 1 to 6 for a chunk of requests: parse, verify, validate, claim, prepare, reserve.
    pub(crate) fn prepare_batch(self: &Arc<Self>) {
        let mut tickets = arrayvec::ArrayVec::<Ticket, PREPARE_BATCH>::new();
        let mut chunk = Vec::with_capacity(PREPARE_BATCH);
        while tickets.len() < PREPARE_BATCH
            && let Some(ticket) = self.intake.pop()
        {
            if let Some(Work::Submitted(submitted)) = self.slots.take(ticket) {
                tickets.push(ticket);
                chunk.push(submitted);
            }
        }
        let intents = self.prepare_chunk(&chunk);
        let mut reservations = Vec::with_capacity(chunk.len());
        let mut made = Vec::new();
        for ((ticket, submitted), intent) in tickets.into_iter().zip(chunk).zip(intents) {
            match intent {
                Intent::Answer(result) => self.answer(ticket, &submitted.reply, result),
                Intent::Wait { holder, same } => self.park(ticket, submitted, holder, same),
                Intent::Reserve(prepared) => {
                    let Prepared { tbs, claimed, room } = *prepared;
                    let asker = Asker { submitted, claimed };
                    match room.zip(asker.claimed.generated.as_ref()) {
                        None => reservations.push(self.reserving(ticket, tbs, asker)),
                        Some((room, KeptKey { serial, key })) => {
                            made.push(SpoolEntry {
                                ticket,
                                serial: *serial,
                                key: key.clone(),
                                _room: room,
                            });
                            self.slots.put(ticket, Work::Spooling(tbs, asker));
                        }
                    }
                }
                Intent::Release(claim, error) => {
                    self.finish(vec![(ticket, claim, submitted.reply, Err(error))]);
                }
                Intent::Again(claim) => {
                    if let Some(claim) = claim {
                        self.release(claim);
                    }
                    self.slots.put(ticket, Work::Submitted(submitted));
                    self.enqueue(ticket);
                }
            }
        }
        if !reservations.is_empty() {
            self.log.reserve(reservations);
        }
        self.keep_keys(made);
    }

    /// Parse to prepare over borrowed requests.
    fn prepare_chunk(&self, chunk: &[Submitted]) -> Vec<Intent> {
        // A clock that cannot be right stops new certificates, not answers of long ago.
        let now_s = match self.log.now_ms() {
            Ok(now_ms) => Ok(now_ms / 1000),
            Err(error) => Err(Fault::Clock(error.to_string())),
        };
        let keys: Vec<_> = chunk
            .iter()
            .map(|item| self.make_key(&item.request))
            .collect();
        let verified = prove_possession(chunk, &keys, parse);
        let mut intents: Vec<Option<Intent>> = Vec::with_capacity(chunk.len());
        let mut valid: Vec<Candidate<'_>> = Vec::with_capacity(chunk.len());
        let mut profiles = Vec::with_capacity(chunk.len());
        for (item, verified) in chunk.iter().zip(verified) {
            let validated = verified.and_then(|verified| self.validated(&item.request, &verified));
            match validated {
                Ok((number, profile, request)) => {
                    profiles.push((number, request.serial.state()));
                    valid.push(Candidate {
                        request,
                        profile,
                        permit: item.request.permit.as_deref(),
                    });
                    intents.push(None);
                }
                Err(error) => intents.push(Some(Intent::Answer(Err(error)))),
            }
        }
        let judge = Judge {
            history: &self.log,
            issuer: self.issuer.key_identifier(),
            officers: self.officers.as_ref(),
            now_s: &now_s,
        };
        let mut outcomes = self
            .claims
            .claim_batch(&judge, valid)
            .into_iter()
            .zip(profiles);
        let mut claimed = |item: &Submitted, key: Option<&GeneratedKey>| match outcomes.next() {
            Some((outcome, (profile, serial))) => {
                let outcome = self.with_serial(outcome, profile, serial);
                outcome.unwrap_or_else(|outcome| self.intent(outcome, profile, item, key, &now_s))
            }
            None => Intent::fault(Fault::Closing),
        };
        let keys = keys
            .iter()
            .map(|key| key.as_ref().ok().and_then(Option::as_ref));
        let items = intents.into_iter().zip(chunk).zip(keys);
        items
            .map(|((intent, item), key)| intent.unwrap_or_else(|| claimed(item, key)))
            .collect()
    }

    /// Step 3: the request held against its profile, with a serial number proposed where it brings none.
    fn validated<'a>(
        &self,
        request: &'a Request,
        verified: &VerifiedRequest<'a>,
    ) -> Result<(usize, &Profile, ValidatedRequest<'a>), IssueError> {
        check_known(self.known_bad_keys.as_ref(), &verified.key)?;
        let (number, profile) = self.profile(&request.profile)?;
        let serials = self.profiles[number].serials.as_ref();
        let serial = SerialOffer::new(serials, profile, verified, &self.log)?;
        let request = validate(verified, profile, &self.issuer, &request.data, serial)?;
        Ok((number, profile, request))
    }

    /// The intent where the serial number changes a claim's outcome, otherwise the outcome.
    fn with_serial<'a>(
        &self,
        outcome: ClaimOutcome<'a>,
        profile: usize,
        serial: SerialState,
    ) -> Result<Intent, ClaimOutcome<'a>> {
        let claim = match serial.judge(outcome)? {
            SerialOutcome::Exhausted(claim) => claim,
            SerialOutcome::Again(claim) => return Ok(Intent::Again(claim)),
        };
        let profile = self.profiles[profile].profile.name().to_owned();
        let rejection = Rejection::SerialsExhausted { profile };
        Ok(match claim {
            Some(claim) => Intent::Release(claim, rejection.into()),
            None => Intent::reject(rejection),
        })
    }

    pub(crate) fn profile(&self, name: &str) -> Result<(usize, &Profile), Rejection> {
        self.profiles
            .iter()
            .enumerate()
            .find(|(_, bound)| bound.profile.name() == name)
            .map(|(number, bound)| (number, &bound.profile))
            .ok_or_else(|| Rejection::UnknownProfile(name.chars().take(64).collect()))
    }

    fn intent(
        &self,
        outcome: ClaimOutcome<'_>,
        profile: usize,
        item: &Submitted,
        key: Option<&GeneratedKey>,
        now_s: &Result<u64, Fault>,
    ) -> Intent {
        match outcome {
            ClaimOutcome::Claimed(claimed) => {
                let prepared = now_s
                    .clone()
                    .and_then(|now_s| self.prepare(&claimed, profile, key, now_s));
                let ClaimedRequest {
                    mut request,
                    claim,
                    replaces,
                } = claimed;
                match prepared {
                    Ok((tbs, ..))
                        if let Err(rejection) = self.check_size(
                            &tbs,
                            &item.request,
                            profile,
                            request.identity.as_deref(),
                        ) =>
                    {
                        request.serial.set_aside();
                        Intent::Release(claim, rejection.into())
                    }
                    Ok((tbs, generated, room)) => {
                        let claimed = ClaimedParts {
                            claim,
                            profile,
                            request_id: request.request_id,
                            key_fingerprint: request.key_fingerprint,
                            identity: request.identity,
                            replaces,
                            spki: match key {
                                None => DeviceSpki::InCsr(range_in(
                                    item.request.key.csr(),
                                    request.key.encoding,
                                )),
                                Some(_) => DeviceSpki::Own(request.key.encoding.to_vec()),
                            },
                            key_algorithm: request.key.algorithm,
                            generated,
                            serial: request.serial,
                        };
                        Intent::Reserve(Box::new(Prepared { tbs, claimed, room }))
                    }
                    Err(fault) => Intent::Release(claim, fault.into()),
                }
            }
            ClaimOutcome::Existing(certificate) => {
                Intent::Answer(self.existing(&item.request, certificate))
            }
            ClaimOutcome::Busy { holder, same } => Intent::Wait { holder, same },
            ClaimOutcome::Refused(rejection) => Intent::reject(rejection),
            ClaimOutcome::Failed(fault) => Intent::fault(fault),
        }
    }

    pub(crate) fn reservation(
        &self,
        ticket: Ticket,
        tbs: &TbsCertificate,
        submitted: &Submitted,
        claimed: &ClaimedParts,
    ) -> Reservation {
        let identity = claimed.identity.as_deref();
        let (_, bytes) = self.sizes_max(tbs, &submitted.request, identity);
        Reservation {
            ticket,
            lost_record: self.lost_record(tbs),
            record_bytes_max: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    /// Octets, at most, of the finished certificate and of its record.
    fn sizes_max(
        &self,
        tbs: &TbsCertificate,
        request: &Request,
        identity: Option<&str>,
    ) -> (usize, usize) {
        let certificate = tbs.buffer.len() + self.issuer.form().encoded_bytes_max();
        let lot = request.lot.as_deref();
        let record =
            IssuedRecord::bytes_max(&request.profile, lot, identity, &request.data, certificate);
        (certificate, record)
    }

    /// Whether the profile and the log take the certificate, however long its signature is. Before anything is
    /// reserved: what is refused here leaves no trace in the log, and holds up nobody else.
    fn check_size(
        &self,
        tbs: &TbsCertificate,
        request: &Request,
        profile: usize,
        identity: Option<&str>,
    ) -> Result<(), Rejection> {
        let (certificate, record) = self.sizes_max(tbs, request, identity);
        let rules = self.profiles[profile].profile.rules();
        let of_profile = rules.certificate_bytes_max.unwrap_or(usize::MAX);
        for (bytes, limit, max) in [
            (certificate, "the profile", of_profile),
            (record, "a record of the log", RECORD_BYTES_MAX),
        ] {
            if bytes > max {
                return Err(Rejection::CertificateTooLarge { bytes, limit, max });
            }
        }
        Ok(())
    }

    fn lost_record(&self, tbs: &TbsCertificate) -> Vec<u8> {
        let issuer = self.issuer.key_identifier();
        LostRecord {
            time_ms: 0,
            issuer,
            serial: &tbs.serial,
            tbs_digest: &tbs.digest,
        }
        .encode()
    }

    /// Step 7 for a software key: signs on this worker. The completion queues the check.
    pub(crate) fn sign_batch(self: &Arc<Self>) {
        for _ in 0..CHECK_BATCH {
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
                let pushed = self.signed.push(ticket);
                debug_assert!(pushed.is_ok(), "the queue holds every ticket");
                self.wake_for_check();
            }
            Err(error) => {
                let append = self.lose(ticket, &reserved, error.into(), asker);
                self.log.append(vec![append]);
            }
        }
    }

    /// Closes a reservation as lost. The answer follows when that is durable.
    fn lose(
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
    fn sign_again(
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

    /// Steps 8 and 9: verify and re-read finished certificates, then append their records.
    pub(crate) fn check_batch(self: &Arc<Self>) {
        let mut appends = Vec::with_capacity(CHECK_BATCH);
        for _ in 0..CHECK_BATCH {
            let Some(ticket) = self.signed.pop() else {
                break;
            };
            let Some(Work::Signed(reserved, signature, asker)) = self.slots.take(ticket) else {
                continue;
            };
            let signed = reserved.signed(&signature, &self.issuer);
            let profile = &self.profiles[asker.claimed.profile].profile;
            let checked = signed.check(&Expectation {
                issuer: &self.issuer,
                spki: asker.spki(),
                key_algorithm: asker.claimed.key_algorithm,
                rules: profile.rules(),
            });
            appends.extend(match checked {
                Ok(checked) => {
                    self.pool.accept(&signature);
                    let record = self.issued_record(&checked, profile, &asker);
                    let reservation = checked.reservation();
                    self.slots.put(ticket, Work::Appending(checked, asker));
                    Some(Append {
                        ticket,
                        reservation,
                        record,
                    })
                }
                Err((finding, reserved)) if finding.is_wrong_signature() => {
                    self.sign_again(ticket, reserved, signature, asker)
                }
                Err((finding, reserved)) => {
                    let fault = Fault::Check(finding.to_string());
                    Some(self.lose(ticket, &reserved, fault, asker))
                }
            });
        }
        if !appends.is_empty() {
            self.log.append(appends);
        }
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
        if asker.claimed.generated.is_some() {
            data.insert(DATA_KEY, KEY_GENERATED);
        }
        IssuedRecord {
            time_ms: 0,
            issuer: self.issuer.key_identifier(),
            profile: profile.name(),
            profile_digest: profile.digest(),
            lot: request.lot.as_deref(),
            requester: None,
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
            (Work::Appending(checked, asker), Ok(Committed::Appended(RecordIndex(index)))) => {
                let kept = asker.claimed.generated.as_ref();
                let result = self.released(checked.logged(index), kept);
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

    fn reserved(
        self: &Arc<Self>,
        ticket: Ticket,
        tbs: TbsCertificate,
        reservation: ReservationId,
        asker: Asker,
    ) {
        self.slots
            .put(ticket, Work::Signing(tbs.reserved(reservation), asker));
        if self.pool.signs_inline() {
            let pushed = self.to_sign.push(ticket);
            debug_assert!(pushed.is_ok(), "the queue holds every ticket");
            self.wake();
        } else {
            self.submit_to_pool(ticket);
        }
    }
}

impl Asker {
    pub(crate) fn finished(self, ticket: Ticket, result: IssueResult) -> Finished {
        (ticket, self.claimed.claim, self.submitted.reply, result)
    }
}

impl Intent {
    fn reject(rejection: Rejection) -> Self {
        Self::Answer(Err(IssueError::Rejected(rejection)))
    }

    fn fault(fault: Fault) -> Self {
        Self::Answer(Err(IssueError::Fault(fault)))
    }
}

fn parse(request: &Request) -> Result<CertificationRequest<'_>, Rejection> {
    check_data(request.lot.as_deref(), &request.data)?;
    check_permit_size(request.permit.as_deref())?;
    CertificationRequest::parse(CertificateSigningRequestDer::new(request.key.csr())?)
}

/// Where `part`, a slice of `whole`, stands in it.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
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
