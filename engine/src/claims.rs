//! Claims: key and identity of a request are ours, or the request was answered before, or another request
//! in flight has to end first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use birthmark_log::{ExtractError, IndexKey, Log, ReadError, RecordIndex, RecordKeys};

use crate::fault::Fault;
use crate::issuance::LoggedCertificate;
use crate::key::sha256;
use crate::profile::Profile;
use crate::record::{IssuedRecord, KIND_OFFICER, Record};
use crate::rejection::Rejection;
use crate::request::Request;
use crate::slots::Ticket;
use crate::validate::ValidatedRequest;

/// The log's key space of public-key fingerprints.
const KEY_SPACE: usize = 0;
/// The log's key space of device identities.
const IDENTITY_SPACE: usize = 1;

/// [`KIND_OFFICER`] as records that are not decoded carry it.
const KIND_OFFICER_ACT: u64 = KIND_OFFICER as u64;

/// The index keys of a record. They come from the record alone, domains included: what a device was issued
/// stays claimed whatever becomes of its profile.
///
/// A record that this version cannot read is an error, which stops the start: passing over it would free
/// the key and the identity that it holds.
///
/// # Errors
/// The record cannot be read, or is of a later release.
pub fn record_keys(record: &[u8]) -> Result<RecordKeys, ExtractError> {
    match Record::decode(record).map_err(ExtractError::new)? {
        Record::Issued(issued) => Ok(issued_keys(&issued)),
        Record::Lost(_)
        | Record::Other {
            kind: KIND_OFFICER_ACT,
            version: 1,
            ..
        } => Ok([None, None]),
        Record::Other { kind, version, .. } => Err(ExtractError::new(format!(
            "kind {kind} version {version} is of a later release: use that release"
        ))),
    }
}

fn issued_keys(record: &IssuedRecord<'_>) -> RecordKeys {
    let identity_domain = record.identity_domain();
    [
        Some(key_index_key(record.key_domain(), record.key_fingerprint)),
        record
            .identity
            .map(|identity| identity_index_key(identity_domain, identity)),
    ]
}

fn request_keys(request: &ValidatedRequest<'_>, profile: &Profile) -> RecordKeys {
    let identity_domain = profile.identity_domain();
    [
        Some(key_index_key(
            profile.key_domain(),
            &request.key_fingerprint,
        )),
        request
            .identity
            .as_deref()
            .map(|identity| identity_index_key(identity_domain, identity)),
    ]
}

/// Fingerprints are SHA-256 already: the domain's digest only sets them apart.
fn key_index_key(domain: &str, fingerprint: &[u8]) -> IndexKey {
    let mut key = if domain.is_empty() {
        [0; 32]
    } else {
        sha256(domain.as_bytes())
    };
    key.iter_mut()
        .zip(fingerprint)
        .for_each(|(byte, other)| *byte ^= other);
    IndexKey(key)
}

/// Identities are equal without regard to case: names are (caseIgnoreMatch, RFC 5280 §7.1), and a device
/// must not be had twice by writing it in capitals. Spaces that the match would fold are refused before.
fn identity_index_key(domain: &str, identity: &str) -> IndexKey {
    let mut text = Vec::with_capacity(domain.len() + 1 + identity.len());
    text.extend_from_slice(domain.as_bytes());
    text.push(0);
    text.extend(identity.bytes().map(|byte| byte.to_ascii_lowercase()));
    IndexKey(sha256(&text))
}

/// The right to issue for one key and identity. It is given back through [`Claims::finish`], once.
#[derive(Debug)]
pub(crate) struct Claim {
    id: ClaimId,
}

/// Names an open claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClaimId(u64);

/// A validated request whose key and identity are claimed.
#[derive(Debug)]
pub(crate) struct ClaimedRequest<'a> {
    pub(crate) request: ValidatedRequest<'a>,
    pub(crate) claim: Claim,
}

/// What came of asking for a claim.
#[derive(Debug)]
pub(crate) enum ClaimOutcome<'a> {
    Claimed(ClaimedRequest<'a>),
    /// The same request was answered before.
    Existing(LoggedCertificate),
    /// A request in flight holds the key or the identity. `same` if it is the same request.
    Busy {
        holder: ClaimId,
        same: bool,
    },
    Refused(Rejection),
    Failed(Fault),
}

/// A request that waits for the outcome of another.
#[derive(Debug)]
pub(crate) struct Waiter<R> {
    pub(crate) ticket: Ticket,
    pub(crate) request: Request,
    pub(crate) reply: R,
    /// It is the same request and gets the same answer.
    pub(crate) same: bool,
}

/// All open claims, and the log's index behind them.
#[derive(Debug)]
pub(crate) struct Claims<R> {
    open: Mutex<OpenClaims<R>>,
    /// Claims finished so far. It only changes under the lock, after the log's index has the record.
    finished: AtomicU64,
}

#[derive(Debug)]
struct OpenClaims<R> {
    next: u64,
    by_index_key: [HashMap<IndexKey, ClaimId>; 2],
    claims: HashMap<ClaimId, OpenClaim<R>>,
}

#[derive(Debug)]
struct OpenClaim<R> {
    keys: RecordKeys,
    request_id: [u8; 32],
    waiters: Vec<Waiter<R>>,
}

impl<R> Claims<R> {
    pub(crate) fn new() -> Self {
        let open = OpenClaims {
            next: 0,
            by_index_key: Default::default(),
            claims: HashMap::new(),
        };
        Self {
            open: Mutex::new(open),
            finished: AtomicU64::new(0),
        }
    }

    /// Claims key and identity of a chunk of requests, in order. Each gets its own outcome; two requests of
    /// one chunk can be in each other's way.
    pub(crate) fn claim_batch<'a>(
        &self,
        log: &Log,
        requests: Vec<(ValidatedRequest<'a>, &Profile)>,
    ) -> Vec<ClaimOutcome<'a>> {
        // The index is asked without the lock first: most answers are "never seen", and it may have to
        // read the disk. Under the lock it is asked again only if a claim was finished meanwhile, because
        // a record enters the index before its claim is finished.
        let seen = self.finished.load(Ordering::Acquire);
        let looked_up: Vec<_> = requests
            .into_iter()
            .map(|(request, profile)| {
                let keys = request_keys(&request, profile);
                let earlier = self.look_up(log, &keys, &request);
                (request, keys, earlier)
            })
            .collect();
        let mut open = self.lock();
        let changed = self.finished.load(Ordering::Acquire) != seen;
        looked_up
            .into_iter()
            .map(|(request, keys, earlier)| {
                if !matches!(earlier, Ok(None)) {
                    return outcome(earlier);
                }
                if let Some((holder, same)) = open.holder(&keys, &request.request_id) {
                    return ClaimOutcome::Busy { holder, same };
                }
                if changed {
                    let earlier = self.look_up(log, &keys, &request);
                    if !matches!(earlier, Ok(None)) {
                        return outcome(earlier);
                    }
                }
                let claim = open.claim(keys, request.request_id);
                ClaimOutcome::Claimed(ClaimedRequest { request, claim })
            })
            .collect()
    }

    /// Lets a request wait for an open claim. If that has just been finished, the waiter comes back and may
    /// claim again.
    pub(crate) fn park(&self, holder: ClaimId, waiter: Waiter<R>) -> Result<(), Waiter<R>> {
        match self.lock().claims.get_mut(&holder) {
            Some(claim) => {
                claim.waiters.push(waiter);
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Gives claims back once their outcome is durable or known to have failed. Returns who waited for
    /// each, in the order of `claims`.
    pub(crate) fn finish(&self, claims: impl Iterator<Item = Claim>) -> Vec<Vec<Waiter<R>>> {
        let mut open = self.lock();
        let waiters = claims.map(|claim| open.finish(&claim)).collect();
        self.finished.fetch_add(1, Ordering::Release);
        waiters
    }

    /// What the log holds on this key and identity.
    fn look_up(
        &self,
        log: &Log,
        keys: &RecordKeys,
        request: &ValidatedRequest<'_>,
    ) -> Result<Option<Earlier>, ReadError> {
        for space in [KEY_SPACE, IDENTITY_SPACE] {
            let Some(key) = &keys[space] else { continue };
            if let Some(index) = log.find(space, key)? {
                let record = log.read(index)?;
                return Ok(Some(self.compare(&record, index, keys, request)));
            }
        }
        Ok(None)
    }

    fn compare(
        &self,
        bytes: &[u8],
        index: RecordIndex,
        keys: &RecordKeys,
        request: &ValidatedRequest<'_>,
    ) -> Earlier {
        let Ok(Record::Issued(record)) = Record::decode(bytes) else {
            return Earlier::Unreadable(index.0);
        };
        if record.request_id == request.request_id {
            return match LoggedCertificate::from_record(record.certificate, index.0) {
                Some(certificate) => Earlier::Same(certificate),
                None => Earlier::Unreadable(index.0),
            };
        }
        let earlier = issued_keys(&record);
        let same = |space: usize| keys[space].is_some() && keys[space] == earlier[space];
        let identity = request.identity.clone().unwrap_or_default();
        let index = index.0;
        Earlier::Other(match (same(KEY_SPACE), same(IDENTITY_SPACE)) {
            (true, true) => Rejection::ChangedRequest { identity, index },
            (false, true) => Rejection::IdentityInUse { identity, index },
            _ => Rejection::KeyInUse { index },
        })
    }

    fn lock(&self) -> MutexGuard<'_, OpenClaims<R>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> OpenClaims<R> {
    fn holder(&self, keys: &RecordKeys, request_id: &[u8; 32]) -> Option<(ClaimId, bool)> {
        let id = [KEY_SPACE, IDENTITY_SPACE]
            .into_iter()
            .find_map(|space| self.by_index_key[space].get(keys[space].as_ref()?))?;
        let same = self
            .claims
            .get(id)
            .is_some_and(|claim| claim.request_id == *request_id);
        Some((*id, same))
    }

    fn claim(&mut self, keys: RecordKeys, request_id: [u8; 32]) -> Claim {
        let id = ClaimId(self.next);
        self.next += 1;
        for (space, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_index_key[space].insert(*key, id);
            }
        }
        self.claims.insert(
            id,
            OpenClaim {
                keys,
                request_id,
                waiters: Vec::new(),
            },
        );
        Claim { id }
    }

    fn finish(&mut self, claim: &Claim) -> Vec<Waiter<R>> {
        let Some(closed) = self.claims.remove(&claim.id) else {
            return Vec::new();
        };
        for (space, key) in closed.keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_index_key[space].remove(key);
            }
        }
        closed.waiters
    }
}

/// What an earlier record means for a request.
#[derive(Debug)]
enum Earlier {
    Same(LoggedCertificate),
    Other(Rejection),
    Unreadable(u64),
}

fn outcome<'a>(earlier: Result<Option<Earlier>, ReadError>) -> ClaimOutcome<'a> {
    match earlier {
        Ok(Some(Earlier::Same(certificate))) => ClaimOutcome::Existing(certificate),
        Ok(Some(Earlier::Other(rejection))) => ClaimOutcome::Refused(rejection),
        Ok(Some(Earlier::Unreadable(index))) => ClaimOutcome::Failed(Fault::Log(format!(
            "record {index} cannot be read; run `birthmark log verify`"
        ))),
        Ok(None) => ClaimOutcome::Failed(Fault::Log("the index gave no answer".to_owned())),
        Err(error) => ClaimOutcome::Failed(Fault::Log(error.to_string())),
    }
}
