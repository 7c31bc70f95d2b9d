//! Claims: key and identity of a request are ours, or the request was answered before, or another request
//! in flight has to end first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use birthmark_log::{IndexKey, KEY_SPACES, RecordKeys, slot_space};

use crate::fault::Fault;
use crate::index_keys::{IDENTITY_SPACE, KEY_SPACE, LOT_SLOT, request_keys};
use crate::issuance::LoggedCertificate;
use crate::lots::LotOffer;
use crate::reissue::{Candidate, History, Judge, Replacement, Verdict};
use crate::rejection::Rejection;
use crate::request::Request;
use crate::slots::Ticket;
use crate::validate::ValidatedRequest;

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
    /// The record that its own will take the place of.
    pub(crate) replaces: Option<Replacement>,
}

/// What came of asking for a claim.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would be an allocation for every certificate"
)]
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
    by_index_key: [HashMap<IndexKey, ClaimId>; KEY_SPACES],
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
    pub(crate) fn claim_batch<'a, H: History>(
        &self,
        judge: &Judge<'_, H>,
        candidates: Vec<Candidate<'a>>,
    ) -> Vec<ClaimOutcome<'a>> {
        // The history is asked without the lock first: most answers are "never seen", and it may have to
        // read the disk. Under the lock it is asked again only if a claim was finished meanwhile, because
        // a record enters the index before its claim is finished. So a request that waited for another, or
        // came late, is held against that one's outcome: no two records replace the same one.
        let seen = self.finished.load(Ordering::Acquire);
        let keys_of =
            |candidate: &Candidate<'_>| request_keys(&candidate.request, candidate.profile);
        let keys: Vec<RecordKeys> = candidates.iter().map(keys_of).collect();
        let verdicts = judge.judge_batch(&candidates, &keys);
        let mut open = self.lock();
        let changed = self.finished.load(Ordering::Acquire) != seen;
        // What enters the index from here on belongs to a claim that is still open, and `holder` tells of it.
        let known = match changed {
            true => judge.history.may_be_known(&keys),
            false => vec![false; keys.len()],
        };
        let judged = candidates.into_iter().zip(keys).zip(verdicts).zip(known);
        judged
            .map(|(((candidate, keys), verdict), known)| {
                let mut replaces = match claimable(verdict) {
                    Ok(replaces) => replaces,
                    Err(outcome) => return outcome,
                };
                let request_id = candidate.request.request_id;
                if let Some((holder, same)) = open.holder(&keys, &request_id) {
                    return ClaimOutcome::Busy { holder, same };
                }
                if known {
                    match claimable(judge.judge(&candidate, &keys)) {
                        Ok(now) => replaces = now,
                        Err(outcome) => return outcome,
                    }
                }
                let claim = open.claim(held(keys, &candidate.request), request_id);
                ClaimOutcome::Claimed(ClaimedRequest {
                    request: candidate.request,
                    claim,
                    replaces,
                })
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

    fn lock(&self) -> MutexGuard<'_, OpenClaims<R>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> OpenClaims<R> {
    fn holder(&self, keys: &RecordKeys, request_id: &[u8; 32]) -> Option<(ClaimId, bool)> {
        let id = [KEY_SPACE, IDENTITY_SPACE, LOT_SLOT]
            .into_iter()
            .find_map(|slot| self.by_index_key[slot_space(slot)].get(keys[slot].as_ref()?))?;
        let same = self
            .claims
            .get(id)
            .is_some_and(|claim| claim.request_id == *request_id);
        Some((*id, same))
    }

    fn claim(&mut self, keys: RecordKeys, request_id: [u8; 32]) -> Claim {
        let id = ClaimId(self.next);
        self.next += 1;
        for (slot, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_index_key[slot_space(slot)].insert(*key, id);
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
        for (slot, key) in closed.keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_index_key[slot_space(slot)].remove(key);
            }
        }
        closed.waiters
    }
}

/// The keys that a request claims: not that of another's place in a lot, which it only waits for.
fn held(mut keys: RecordKeys, request: &ValidatedRequest<'_>) -> RecordKeys {
    if let LotOffer::Waiting { .. } = request.lot {
        keys[LOT_SLOT] = None;
    }
    keys
}

/// What may be claimed, and which record it replaces; or the outcome, where nothing is to be claimed.
fn claimable<'a>(verdict: Verdict) -> Result<Option<Replacement>, ClaimOutcome<'a>> {
    match verdict {
        Verdict::New => Ok(None),
        Verdict::Replaces(replacement) => Ok(Some(replacement)),
        Verdict::Same(earlier) => Err(match earlier.certificate() {
            Ok(certificate) => ClaimOutcome::Existing(certificate),
            Err(fault) => ClaimOutcome::Failed(fault),
        }),
        Verdict::Refused(rejection) => Err(ClaimOutcome::Refused(rejection)),
        Verdict::Failed(fault) => Err(ClaimOutcome::Failed(fault)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::reissue::world::{Ask, Past, World};

    /// A history in which something happens after a number of finds, between judging and claiming.
    struct Interrupted<'a> {
        past: &'a Past,
        finds_left: Cell<usize>,
        happens: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
    }

    impl History for Interrupted<'_> {
        fn newest(&self, space: usize, key: &IndexKey) -> Result<Option<u64>, Fault> {
            let found = self.past.newest(space, key);
            self.finds_left.set(self.finds_left.get().wrapping_sub(1));
            if self.finds_left.get() == 0
                && let Some(happens) = self.happens.take()
            {
                happens();
            }
            found
        }

        fn record(&self, index: u64) -> Result<Vec<u8>, Fault> {
            self.past.record(index)
        }
    }

    fn only<T>(mut outcomes: Vec<T>) -> T {
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    /// Claims for `first`, and lets it end in a record just after `second` was judged.
    fn claim_across_an_end<'a>(
        world: &'a World,
        first: (Ask, Option<&'a str>),
        second: (Ask, Option<&'a str>),
    ) -> ClaimOutcome<'a> {
        let claims = Claims::<()>::new();
        let judge = world.judge_with(&world.past);
        let candidate = world.candidate(first.0, first.1);
        let outcome = only(claims.claim_batch(&judge, vec![candidate]));
        let ClaimOutcome::Claimed(ClaimedRequest {
            claim, replaces, ..
        }) = outcome
        else {
            panic!("{outcome:?}");
        };
        let ends = || {
            world.push(first.0, replaces.map(|replaced| replaced.index));
            assert_eq!(claims.finish(std::iter::once(claim)).len(), 1);
        };
        let history = Interrupted {
            past: &world.past,
            // Key and identity of a device that is known: one find each.
            finds_left: Cell::new(2),
            happens: RefCell::new(Some(Box::new(ends))),
        };
        let judge = world.judge_with(&history);
        let candidate = world.candidate(second.0, second.1);
        only(claims.claim_batch(&judge, vec![candidate]))
    }

    #[test]
    fn a_reissue_that_ended_meanwhile_is_not_overlooked() {
        let world = World::new("same-key");
        world.push(Ask(1, "SN-1", 1), None);
        let change = |value| (Ask(1, "SN-1", value), None);
        match claim_across_an_end(&world, change(2), change(3)) {
            ClaimOutcome::Claimed(claimed) => {
                assert_eq!(claimed.replaces.map(|replaced| replaced.index), Some(1));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_permit_that_was_spent_meanwhile_is_spent() {
        let world = World::new("permit");
        world.push(Ask(1, "SN-1", 1), None);
        let permit = world.signed("SN-1", 0);
        let rework = |value| (Ask(1, "SN-1", value), Some(permit.as_str()));
        match claim_across_an_end(&world, rework(2), rework(3)) {
            ClaimOutcome::Refused(rejection) => assert_eq!(rejection.number(), 518),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn two_changes_of_one_batch_wait_for_each_other() {
        let world = World::new("same-key");
        world.push(Ask(1, "SN-1", 1), None);
        let claims = Claims::<()>::new();
        let judge = world.judge_with(&world.past);
        let asks = [2, 3, 2].map(|value| world.candidate(Ask(1, "SN-1", value), None));
        let outcomes = claims.claim_batch(&judge, asks.into());
        assert!(matches!(outcomes[0], ClaimOutcome::Claimed(_)));
        assert!(matches!(
            outcomes[1],
            ClaimOutcome::Busy { same: false, .. }
        ));
        assert!(matches!(outcomes[2], ClaimOutcome::Busy { same: true, .. }));
    }
}
