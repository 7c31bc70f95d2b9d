//! The issuance cycle as it runs: who does which step of [`crate::cycle`], and how work goes from one to
//! the next.
//!
//! Workers of a private pool run [`Pipeline::drive`](crate::workers): they take the most advanced work first, in small
//! batches. The log's thread and the signing sessions only move work from one queue to the next. No queue
//! can overflow, because each holds as many tickets as there are slots.

use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use birthmark_hsm::{SignCompletion, SignError, Signature, SigningPool};
use birthmark_log::{Commit, CommitSink, Log};
use crossbeam_queue::ArrayQueue;

use crate::claims::{Claim, ClaimId, Claims, Waiter};
use crate::device_key::{KeptKey, KeyMaker, LogEnd, SpoolError, SpoolSink, are_recorded};
use crate::fault::Fault;
use crate::issuance::{CheckedCertificate, ReservedCertificate};
use crate::issuer::Issuer;
use crate::key::DeviceKeyAlgorithm;
use crate::lots::{LotBook, LotOffer};
use crate::metrics::Counters;
use crate::permit::Officers;
use crate::profile::Profile;
use crate::reissue::Replacement;
use crate::reply::Reply;
use crate::request::{IssueError, IssueResult, IssueStatus, Issued, Request};
use crate::serial_allocator::SerialAllocator;
use crate::serial_offer::SerialOffer;
use crate::slots::{Slots, Ticket};
use crate::tbs::{Serial, TbsCertificate, TbsTemplate};
use crate::verification::SignatureVerifier;
use crate::weak_key::KnownBadKeys;
use crate::workers::Workers;

/// A profile with the encoded parts that it shares with its issuer.
#[derive(Debug)]
pub(crate) struct BoundProfile {
    pub(crate) profile: Profile,
    pub(crate) template: TbsTemplate,
    /// Where the profile hands out serial numbers.
    pub(crate) serials: Option<Arc<SerialAllocator>>,
}

/// Everything that takes part in the cycle.
pub(crate) struct Pipeline {
    pub(crate) issuer: Issuer,
    pub(crate) verifier: SignatureVerifier,
    pub(crate) profiles: Vec<BoundProfile>,
    /// Whose permits count.
    pub(crate) officers: Option<Officers>,
    pub(crate) known_bad_keys: Option<KnownBadKeys>,
    /// Where the station has any: otherwise a lot is a name and nothing else.
    pub(crate) lots: Option<LotBook>,
    pub(crate) pool: SigningPool,
    pub(crate) log: Log,
    /// Makes keys for devices, where a profile has that.
    pub(crate) keys: Option<KeyMaker>,
    pub(crate) claims: Claims<Arc<Reply>>,
    pub(crate) slots: Slots<Work>,
    /// Submitted, not yet looked at.
    pub(crate) intake: ArrayQueue<Ticket>,
    /// Reserved, for a signer that signs on the workers.
    pub(crate) to_sign: ArrayQueue<Ticket>,
    /// Signed, not yet checked.
    pub(crate) signed: ArrayQueue<Ticket>,
    pub(crate) workers: Workers,
    pub(crate) relay: Arc<Relay>,
    pub(crate) counters: Counters,
}

/// Where a certificate in flight is.
#[derive(Debug)]
pub(crate) enum Work {
    Submitted(Submitted),
    /// The encrypted key is on its way to the disk.
    Spooling(TbsCertificate, Asker),
    Reserving(TbsCertificate, Asker),
    Signing(ReservedCertificate, Asker),
    Signed(ReservedCertificate, Signature, Asker),
    Appending(CheckedCertificate, Asker),
    /// The reservation is being closed as lost; the fault is the answer.
    Losing(Fault, Asker),
}

#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) request: Request,
    pub(crate) reply: Arc<Reply>,
}

/// What is kept of a request until its certificate is released.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) submitted: Submitted,
    pub(crate) claimed: ClaimedParts,
}

/// The parts of a claimed request that its record and its check need, owned.
#[derive(Debug)]
pub(crate) struct ClaimedParts {
    pub(crate) claim: Claim,
    /// Place in [`Pipeline::profiles`].
    pub(crate) profile: usize,
    pub(crate) request_id: [u8; 32],
    pub(crate) key_fingerprint: [u8; 32],
    pub(crate) identity: Option<String>,
    /// The record that this certificate's takes the place of.
    pub(crate) replaces: Option<Replacement>,
    pub(crate) spki: DeviceSpki,
    /// The key that was made for the device.
    pub(crate) generated: Option<KeptKey>,
    pub(crate) key_algorithm: DeviceKeyAlgorithm,
    /// The serial number that was handed out, held until the certificate is in the log or came to nothing.
    pub(crate) serial: SerialOffer,
    /// The place in its lot, held likewise.
    pub(crate) lot: LotOffer,
}

/// Where the device's SubjectPublicKeyInfo is.
#[derive(Debug)]
pub(crate) enum DeviceSpki {
    /// In the request.
    InCsr(Range<usize>),
    /// The key was made here.
    Own(Vec<u8>),
}

impl Asker {
    /// The device's SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> &[u8] {
        match &self.claimed.spki {
            DeviceSpki::InCsr(range) => &self.submitted.request.key.csr()[range.clone()],
            DeviceSpki::Own(spki) => spki,
        }
    }
}

impl Pipeline {
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place where the parts meet"
    )]
    pub(crate) fn new(
        issuer: Issuer,
        verifier: SignatureVerifier,
        profiles: Vec<BoundProfile>,
        officers: Option<Officers>,
        known_bad_keys: Option<KnownBadKeys>,
        lots: Option<LotBook>,
        pool: SigningPool,
        log: Log,
        keys: Option<KeyMaker>,
        claims: Claims<Arc<Reply>>,
        max_in_flight: u32,
        workers: rayon::ThreadPool,
        relay: Arc<Relay>,
    ) -> Arc<Self> {
        let slots = Slots::new(max_in_flight);
        let queue = || ArrayQueue::new(slots.capacity());
        let pipeline = Arc::new(Self {
            issuer,
            verifier,
            profiles,
            officers,
            known_bad_keys,
            lots,
            pool,
            log,
            keys,
            claims,
            intake: queue(),
            to_sign: queue(),
            signed: queue(),
            workers: Workers::new(workers),
            relay: relay.clone(),
            counters: Counters::default(),
            slots,
        });
        let _ = relay.pipeline.set(Arc::downgrade(&pipeline));
        if let Some(keys) = &pipeline.keys {
            keys.spool.compact();
        }
        pipeline
    }

    /// Lets a request wait for the one that holds its key or identity. It keeps its slot, but is not in
    /// flight as the log counts.
    pub(crate) fn park(
        self: &Arc<Self>,
        ticket: Ticket,
        submitted: Submitted,
        holder: ClaimId,
        same: bool,
    ) {
        let Submitted { request, reply } = submitted;
        self.log.in_flight().sub(1);
        if let Err(waiter) = self.claims.park(
            holder,
            Waiter {
                ticket,
                request,
                reply,
                same,
            },
        ) {
            self.unpark(waiter);
        }
    }

    /// Puts a request that waited back to the start.
    fn unpark(self: &Arc<Self>, waiter: Waiter<Arc<Reply>>) {
        self.log.in_flight().add(1);
        let Waiter {
            ticket,
            request,
            reply,
            ..
        } = waiter;
        self.slots
            .put(ticket, Work::Submitted(Submitted { request, reply }));
        self.enqueue(ticket);
    }

    /// Gives a claim back that came to nothing. Whoever waited for it begins anew.
    pub(crate) fn release(self: &Arc<Self>, claim: Claim) {
        for waiter in self
            .claims
            .finish(std::iter::once(claim))
            .into_iter()
            .flatten()
        {
            self.unpark(waiter);
        }
    }

    /// Refuses a request for which nothing was made yet, and with it those that waited for it and say the same word for
    /// word. The others are judged on their own: what refused this one, such as its lot, need not be theirs.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        ticket: Ticket,
        claim: Claim,
        submitted: Submitted,
        error: IssueError,
    ) {
        let waiters = self.claims.finish(std::iter::once(claim));
        for waiter in waiters.into_iter().flatten() {
            if waiter.same && says_the_same(&waiter.request, &submitted.request) {
                self.log.in_flight().add(1);
                self.answer(waiter.ticket, &waiter.reply, Err(error.clone()));
            } else {
                self.unpark(waiter);
            }
        }
        self.answer(ticket, &submitted.reply, Err(error));
    }

    /// Answers requests whose claims end here, and those that waited for them.
    pub(crate) fn finish(self: &Arc<Self>, finished: Vec<Finished>) {
        let (claims, answers): (Vec<_>, Vec<_>) = finished
            .into_iter()
            .map(|(ticket, claim, reply, result)| (claim, (ticket, reply, result)))
            .unzip();
        let waiters = self.claims.finish(claims.into_iter());
        for ((ticket, reply, result), waiters) in answers.into_iter().zip(waiters) {
            for waiter in waiters {
                if waiter.same {
                    self.log.in_flight().add(1);
                    self.answer(waiter.ticket, &waiter.reply, as_existing(&result));
                } else {
                    self.unpark(waiter);
                }
            }
            self.answer(ticket, &reply, result);
        }
    }

    /// Frees the slot, then delivers the answer: who has an answer finds room for the next request.
    pub(crate) fn answer(&self, ticket: Ticket, reply: &Reply, result: IssueResult) {
        self.counters.count(&result);
        self.log.in_flight().sub(1);
        self.slots.release(ticket);
        reply.complete(result);
    }
}

/// A certificate's end: its slot, its claim, who asked, the answer.
pub(crate) type Finished = (Ticket, Claim, Arc<Reply>, IssueResult);

/// Joins the log's and the signers' callbacks to the pipeline, which is made after them.
#[derive(Default)]
pub(crate) struct Relay {
    pipeline: OnceLock<Weak<Pipeline>>,
}

impl Relay {
    fn pipeline(&self) -> Option<Arc<Pipeline>> {
        self.pipeline.get()?.upgrade()
    }
}

impl CommitSink for Relay {
    fn committed(&self, commits: &mut Vec<Commit>) {
        let Some(pipeline) = self.pipeline() else {
            return commits.clear();
        };
        let finished: Vec<Finished> = commits
            .drain(..)
            .filter_map(|commit| pipeline.commit(commit))
            .collect();
        if !finished.is_empty() {
            pipeline.finish(finished);
        }
    }
}

impl SpoolSink for Relay {
    fn spooled(&self, outcomes: Vec<(Ticket, Result<(), SpoolError>)>) {
        if let Some(pipeline) = self.pipeline() {
            pipeline.spooled(outcomes);
        }
    }

    fn log_end(&self) -> Option<LogEnd> {
        let pipeline = self.pipeline()?;
        Some(LogEnd::of(&pipeline.log))
    }

    fn are_recorded(&self, serials: &[Serial]) -> bool {
        self.pipeline()
            .is_some_and(|pipeline| are_recorded(&pipeline.log, serials))
    }
}

impl SignCompletion for Relay {
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
        if let Some(pipeline) = self.pipeline() {
            pipeline.signed(ticket, outcome);
        }
    }
}

/// Whether two requests with one identity are alike in what that does not cover.
fn says_the_same(one: &Request, other: &Request) -> bool {
    one.lot == other.lot && one.requester == other.requester && one.data == other.data
}

/// The answer that a waiter for the same request gets.
fn as_existing(result: &IssueResult) -> IssueResult {
    result.clone().map(|issued| Issued {
        status: IssueStatus::Existing,
        ..issued
    })
}
