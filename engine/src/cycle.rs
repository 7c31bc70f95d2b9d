//! The issuance cycle, step by step. Which worker runs which step, and when, is [`crate::pipeline`]'s
//! business. Here are steps 1 to 6, from parse to reserve.

mod release;
mod signing;
mod sizes;

use std::ops::Range;
use std::sync::Arc;

use crate::claims::{Claim, ClaimId, ClaimOutcome, ClaimedRequest};
use crate::csr::{CertificateSigningRequestDer, CertificationRequest, VerifiedRequest};
use crate::device_key::{GeneratedKey, KeptKey, Room, SpoolEntry, prove_possession};
use crate::fault::Fault;
use crate::lots::{LotOutcome, check_requester};
use crate::pipeline::{Asker, ClaimedParts, DeviceSpki, Pipeline, Submitted, Work};
use crate::profile::Profile;
use crate::reissue::{Candidate, Judge};
use crate::rejection::Rejection;
use crate::request::{IssueError, IssueResult, Request};
use crate::serial_offer::{SerialOffer, SerialOutcome, SerialState};
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
        let mut tickets = self.take_requests();
        let mut chunk = Vec::with_capacity(tickets.len());
        tickets.retain(|ticket| match self.slots.take(*ticket) {
            Some(Work::Submitted(submitted)) => {
                chunk.push(submitted);
                true
            }
            _ => false,
        });
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
                    self.refuse(ticket, claim, submitted, error);
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
        let verified = prove_possession(&self.verifier, chunk, &keys, parse);
        let mut intents: Vec<Option<Intent>> = Vec::with_capacity(chunk.len());
        let mut valid: Vec<Candidate<'_>> = Vec::with_capacity(chunk.len());
        let mut profiles = Vec::with_capacity(chunk.len());
        for (item, verified) in chunk.iter().zip(verified) {
            let validated = verified.and_then(|verified| {
                self.validated(&item.request, &verified, now_s.as_ref().ok().copied())
            });
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
                let outcome = self.with_numbers(outcome, profile, serial);
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

    /// Step 3: the request held against its profile, with a serial number proposed where it brings none, and against
    /// its lot.
    fn validated<'a>(
        &self,
        request: &'a Request,
        verified: &VerifiedRequest<'a>,
        now_s: Option<u64>,
    ) -> Result<(usize, &Profile, ValidatedRequest<'a>), IssueError> {
        check_known(self.known_bad_keys.as_ref(), &verified.key)?;
        let (number, profile) = self.profile(&request.profile)?;
        let serials = self.profiles[number].serials.as_ref();
        let serial = SerialOffer::new(serials, profile, verified, &self.log)?;
        let mut valid = validate(verified, profile, &self.issuer, &request.data, serial)?;
        check_requester(request.requester.as_deref())?;
        if let Some(lots) = &self.lots {
            let identity = valid.identity.as_deref();
            valid.lot = lots.offer(request, identity, now_s, &self.log);
        }
        Ok((number, profile, valid))
    }

    /// The intent where the serial number or the lot changes a claim's outcome, otherwise the outcome.
    fn with_numbers<'a>(
        &self,
        outcome: ClaimOutcome<'a>,
        profile: usize,
        serial: SerialState,
    ) -> Result<Intent, ClaimOutcome<'a>> {
        let claim = match serial.judge(outcome) {
            Ok(SerialOutcome::Exhausted(claim)) => claim,
            Ok(SerialOutcome::Again(claim)) => return Ok(Intent::Again(claim)),
            Err(outcome) => {
                return LotOutcome::judge(outcome).map(|outcome| match outcome {
                    LotOutcome::Refused(claim, error) => Intent::Release(claim, error),
                    LotOutcome::Again(claim) => Intent::Again(Some(claim)),
                });
            }
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
                            lot: request.lot,
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
