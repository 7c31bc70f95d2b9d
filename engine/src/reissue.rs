//! Whether a request is new, was answered before, or may replace an earlier certificate.
//!
//! Records of one device form a chain: each says in `replaces` which one it takes the place of, and the
//! newest stands for the device. Three rules hold in every chain:
//!
//! - **One request, one certificate, for good.** A request that was answered gets the same bytes again while
//!   its record is the newest. Once that is replaced, the request is refused and told which record is valid
//!   now; it never comes back to life, so two requests cannot replace each other in turn.
//!   One exception: where the engine makes the key, a request says nothing of it, and a permit for the
//!   newest record asks for another key in the same words. The newest record then answers the request.
//! - **A key that was given up stays given up.** It is claimed by its record: nobody else may have it, and
//!   the device itself needs a new one.
//! - **A record is replaced once.** A reissue is judged against the newest record while the device's claim
//!   is held, and a permit names that record, so that the reissue itself spends the permit.

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;

use birthmark_log::{IndexKey, Log, ReadError, RecordIndex, RecordKeys};

use crate::fault::Fault;
use crate::hex;
use crate::index_keys::{IDENTITY_SPACE, KEY_SPACE, issued_keys};
use crate::issuance::LoggedCertificate;
use crate::permit::{Officers, PermitProblem, Wanted};
use crate::profile::Profile;
use crate::record::{IssuedRecord, Record};
use crate::rejection::Rejection;
use crate::validate::ValidatedRequest;

/// Reissues of one device, at most. Every request of a device walks its chain, one record read each; and a
/// device that has come back so often has a fault that another certificate does not mend.
pub const REISSUES_MAX: usize = 32;

/// When a device that has a certificate may get another: a profile's `reissue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reissue {
    /// `never`, the default: a changed request is refused.
    Never,
    /// `same-key`: when it asks with the same key under the same profile and issuer, and other values.
    SameKey,
    /// `permit`: when an officer's permit allows it, also with a new key.
    Permit,
}

impl Reissue {
    /// As profiles write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::SameKey => "same-key",
            Self::Permit => "permit",
        }
    }

    /// As profiles write it.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "never" => Some(Self::Never),
            "same-key" => Some(Self::SameKey),
            "permit" => Some(Self::Permit),
            _ => None,
        }
    }
}

/// A request that asks for a claim.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) request: ValidatedRequest<'a>,
    pub(crate) profile: &'a Profile,
    /// A permit as it came, not looked at yet.
    pub(crate) permit: Option<&'a [u8]>,
}

/// The record that a new one takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) index: u64,
    /// SHA-256 of the permit that allows it, where one was needed.
    pub(crate) permit: Option<[u8; 32]>,
}

/// What the log's records say to a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Neither its key nor its identity was seen before.
    New,
    /// It was answered before, in a record that still stands.
    Same(Earlier),
    /// It may have a certificate in the place of an earlier one.
    Replaces(Replacement),
    Refused(Rejection),
    Failed(Fault),
}

/// What was issued before: the log, or a list in a test.
pub(crate) trait History {
    /// The newest record with this key.
    fn newest(&self, space: usize, key: &IndexKey) -> Result<Option<u64>, Fault>;
    /// Which of these requests have a key or an identity that may have been seen before. For many at a time
    /// this is cheaper than [`History::newest`].
    fn may_be_known(&self, keys: &[RecordKeys]) -> Vec<bool> {
        vec![true; keys.len()]
    }
    /// The record at a place.
    fn record(&self, index: u64) -> Result<Vec<u8>, Fault>;
}

impl History for Log {
    fn newest(&self, space: usize, key: &IndexKey) -> Result<Option<u64>, Fault> {
        match self.find(space, key) {
            Ok(found) => Ok(found.map(|index| index.0)),
            Err(error) => Err(unread(&error)),
        }
    }

    fn may_be_known(&self, keys: &[RecordKeys]) -> Vec<bool> {
        let mut known = vec![false; keys.len()];
        for space in [KEY_SPACE, IDENTITY_SPACE] {
            let asked = keys.iter().zip(&mut known);
            let (asked, known): (Vec<IndexKey>, Vec<&mut bool>) = asked
                .filter_map(|(keys, known)| Some((keys[space]?, known)))
                .unzip();
            for (found, known) in self.find_batch(space, &asked).into_iter().zip(known) {
                // What cannot be read is for the judge to report.
                *known |= !matches!(found, Ok(None));
            }
        }
        known
    }

    fn record(&self, index: u64) -> Result<Vec<u8>, Fault> {
        self.read(RecordIndex(index))
            .map_err(|error| unread(&error))
    }
}

/// An archive that is not mounted is no fault of the log's, and holds up nobody else.
fn unread(error: &ReadError) -> Fault {
    match error {
        ReadError::Archived { .. } => Fault::Archived(error.to_string()),
        _ => Fault::Log(error.to_string()),
    }
}

/// Holds requests against the history.
#[derive(Debug)]
pub(crate) struct Judge<'a, H> {
    pub(crate) history: &'a H,
    /// Key identifier of the issuer that would sign.
    pub(crate) issuer: &'a [u8],
    pub(crate) officers: Option<&'a Officers>,
    /// The log's time, unless its clock cannot be right.
    pub(crate) now_s: &'a Result<u64, Fault>,
}

impl<H: History> Judge<'_, H> {
    /// [`Judge::judge`] for many, each with its index keys.
    pub(crate) fn judge_batch(
        &self,
        candidates: &[Candidate<'_>],
        keys: &[RecordKeys],
    ) -> Vec<Verdict> {
        let known = self.history.may_be_known(keys);
        let all = candidates.iter().zip(keys).zip(known);
        all.map(|((candidate, keys), known)| match known {
            true => self.judge(candidate, keys),
            false => Verdict::New,
        })
        .collect()
    }

    /// What becomes of a request whose index keys are `keys`.
    pub(crate) fn judge(&self, candidate: &Candidate<'_>, keys: &RecordKeys) -> Verdict {
        self.weigh(candidate, keys).unwrap_or_else(Verdict::Failed)
    }

    fn weigh(&self, candidate: &Candidate<'_>, keys: &RecordKeys) -> Result<Verdict, Fault> {
        let (by_key, by_identity) = self.newest_of_both(keys)?;
        if by_key.is_none() && by_identity.is_none() {
            return Ok(Verdict::New);
        }
        let newest = by_identity.map(|index| self.read(index)).transpose()?;
        let mut reissues = 0;
        if let Some(newest) = &newest {
            match self.walk(newest, &candidate.request)? {
                Walk::Met(earlier) => {
                    return match self.another_key(candidate, &earlier, by_identity)? {
                        Some(replacement) => Ok(Verdict::Replaces(replacement)),
                        None => self.answered(earlier, keys, by_identity),
                    };
                }
                Walk::Ended { reissues: count } => reissues = count,
            }
        }
        if by_key == by_identity {
            return Ok(self.reissue(candidate, newest.as_ref(), true, reissues));
        }
        let Some(holder) = by_key.map(|index| self.read(index)).transpose()? else {
            return Ok(self.reissue(candidate, newest.as_ref(), false, reissues));
        };
        // Where a profile's identity domain was changed, the same request stands in the key's chain alone.
        if let Walk::Met(earlier) = self.walk(&holder, &candidate.request)? {
            return self.answered(earlier, keys, by_identity);
        }
        let index = holder.index;
        let own = keys[IDENTITY_SPACE].is_some() && holder.identity_key == keys[IDENTITY_SPACE];
        Ok(Verdict::Refused(match by_identity {
            Some(by) if own => Rejection::KeyRetired {
                identity: identity(candidate),
                index,
                by,
            },
            _ => Rejection::KeyInUse { index },
        }))
    }

    /// The newest record with the key and the newest with the identity, as they stood at one moment: a
    /// record that came between the two questions must not make a device's key look given up.
    fn newest_of_both(&self, keys: &RecordKeys) -> Result<(Option<u64>, Option<u64>), Fault> {
        let newest = |space: usize| match &keys[space] {
            Some(key) => self.history.newest(space, key),
            None => Ok(None),
        };
        let mut by_key = newest(KEY_SPACE)?;
        loop {
            let by_identity = newest(IDENTITY_SPACE)?;
            if by_identity == by_key {
                return Ok((by_key, by_identity));
            }
            // Each turn but the last saw another record come with this key.
            let still = newest(KEY_SPACE)?;
            if still == by_key {
                return Ok((by_key, by_identity));
            }
            by_key = still;
        }
    }

    fn read(&self, index: u64) -> Result<Earlier, Fault> {
        let record = self.history.record(index)?;
        Earlier::new(index, record).ok_or_else(|| unreadable(index))
    }

    /// Looks for the record that answered a request, from `head` back through what each one replaces.
    fn walk(&self, head: &Earlier, request: &ValidatedRequest<'_>) -> Result<Walk, Fault> {
        let mut at = head.clone();
        for reissues in 0..=REISSUES_MAX {
            if at.request_id == request.request_id
                || request.serial.other_request_id() == Some(&at.request_id)
            {
                return Ok(Walk::Met(at));
            }
            at = match at.replaces {
                None => return Ok(Walk::Ended { reissues }),
                Some(before) if before < at.index => self.read(before)?,
                // A record that replaces a later one is none that an engine wrote.
                Some(_) => return Err(unreadable(at.index)),
            };
        }
        Ok(Walk::Ended {
            reissues: REISSUES_MAX + 1,
        })
    }

    /// A request for a generated key is the same whenever it comes, also when the device lost its key. Then an
    /// officer's permit for its newest record, and nothing less, makes it a request for another key.
    fn another_key(
        &self,
        candidate: &Candidate<'_>,
        earlier: &Earlier,
        by_identity: Option<u64>,
    ) -> Result<Option<Replacement>, Fault> {
        let asked = candidate.request.generated
            && candidate.permit.is_some()
            && candidate.profile.reissue() == Reissue::Permit
            && by_identity == Some(earlier.index);
        if !asked {
            return Ok(None);
        }
        let Verdict::Replaces(replacement) =
            self.permitted(candidate, candidate.permit, earlier.index)
        else {
            return Ok(None);
        };
        Ok((self.reissues(earlier)? < REISSUES_MAX).then_some(replacement))
    }

    /// Reissues before a record, in its chain; over [`REISSUES_MAX`] if there are more than that.
    fn reissues(&self, head: &Earlier) -> Result<usize, Fault> {
        let mut replaces = head.replaces;
        for reissues in 0..=REISSUES_MAX {
            match replaces {
                None => return Ok(reissues),
                Some(before) => replaces = self.read(before)?.replaces,
            }
        }
        Ok(REISSUES_MAX + 1)
    }

    /// The request was answered in `earlier`: does that still stand?
    fn answered(
        &self,
        earlier: Earlier,
        keys: &RecordKeys,
        by_identity: Option<u64>,
    ) -> Result<Verdict, Fault> {
        let index = earlier.index;
        let newest = match &earlier.identity_key {
            own if *own == keys[IDENTITY_SPACE] => by_identity,
            Some(own) => self.history.newest(IDENTITY_SPACE, own)?,
            None => None,
        };
        Ok(match newest {
            Some(by) if by > index => Verdict::Refused(Rejection::Superseded { index, by }),
            _ => Verdict::Same(earlier),
        })
    }

    /// A device that has a certificate asks for another: with its present key, or with one never seen.
    fn reissue(
        &self,
        candidate: &Candidate<'_>,
        newest: Option<&Earlier>,
        same_key: bool,
        reissues: usize,
    ) -> Verdict {
        let Some(newest) = newest else {
            return Verdict::New;
        };
        let index = newest.index;
        let refused = || match same_key {
            true => Rejection::ChangedRequest {
                identity: identity(candidate),
                index,
            },
            false => Rejection::IdentityInUse {
                identity: identity(candidate),
                index,
            },
        };
        let permitted = match candidate.profile.reissue() {
            Reissue::Never => return Verdict::Refused(refused()),
            Reissue::SameKey if same_key && self.is_of_this_kind(newest, candidate.profile) => None,
            Reissue::SameKey => return Verdict::Refused(refused()),
            Reissue::Permit => Some(candidate.permit),
        };
        if reissues >= REISSUES_MAX {
            return Verdict::Refused(Rejection::ReissueLimit {
                identity: identity(candidate),
                index,
            });
        }
        match permitted {
            None => Verdict::Replaces(Replacement {
                index,
                permit: None,
            }),
            Some(note) => self.permitted(candidate, note, index),
        }
    }

    /// Same profile, same issuer: a device does not slip from one to another by asking elsewhere.
    fn is_of_this_kind(&self, newest: &Earlier, profile: &Profile) -> bool {
        newest
            .issued()
            .is_some_and(|record| record.profile == profile.name() && record.issuer == self.issuer)
    }

    fn permitted(&self, candidate: &Candidate<'_>, note: Option<&[u8]>, index: u64) -> Verdict {
        let key_fingerprint = &candidate.request.key_fingerprint;
        let Some(note) = note else {
            return Verdict::Refused(Rejection::PermitNeeded {
                identity: identity(candidate),
                index,
                key_fingerprint: match candidate.request.generated {
                    false => hex::encode(key_fingerprint),
                    true => "any".to_owned(),
                },
            });
        };
        let now_s = match self.now_s {
            Ok(now_s) => *now_s,
            Err(fault) => return Verdict::Failed(fault.clone()),
        };
        let wanted = Wanted {
            issuer: self.issuer,
            profile: candidate.profile.name(),
            identity_domain: candidate.profile.identity_domain(),
            identity: candidate.request.identity.as_deref().unwrap_or_default(),
            key_fingerprint,
            replaces: index,
            now_s,
        };
        let checked = match self.officers {
            Some(officers) => officers.check(note, &wanted),
            None => Err(PermitProblem::UnknownOfficer),
        };
        match checked {
            Ok(digest) => Verdict::Replaces(Replacement {
                index,
                permit: Some(digest),
            }),
            Err(problem) => Verdict::Refused(Rejection::Permit {
                identity: identity(candidate),
                index,
                problem,
            }),
        }
    }
}

/// An issued record of the history.
#[derive(Debug, Clone)]
pub(crate) struct Earlier {
    index: u64,
    record: Vec<u8>,
    identity_key: Option<IndexKey>,
    request_id: [u8; 32],
    replaces: Option<u64>,
}

impl Earlier {
    fn new(index: u64, record: Vec<u8>) -> Option<Self> {
        let Ok(Record::Issued(issued)) = Record::decode(&record) else {
            return None;
        };
        let (keys, replaces) = (issued_keys(&issued), issued.replaces);
        let request_id = issued.request_id.try_into().ok()?;
        Some(Self {
            index,
            record,
            identity_key: keys[IDENTITY_SPACE],
            request_id,
            replaces,
        })
    }

    fn issued(&self) -> Option<IssuedRecord<'_>> {
        match Record::decode(&self.record) {
            Ok(Record::Issued(issued)) => Some(issued),
            _ => None,
        }
    }

    /// The certificate in the record.
    pub(crate) fn certificate(&self) -> Result<LoggedCertificate, Fault> {
        self.issued()
            .and_then(|issued| LoggedCertificate::from_record(issued.certificate, self.index))
            .ok_or_else(|| unreadable(self.index))
    }
}

/// How a walk through a chain ended.
enum Walk {
    /// At the record that answered the request.
    Met(Earlier),
    /// At the device's first record, after so many reissues; or past [`REISSUES_MAX`] of them.
    Ended { reissues: usize },
}

fn identity(candidate: &Candidate<'_>) -> String {
    candidate.request.identity.clone().unwrap_or_default()
}

fn unreadable(index: u64) -> Fault {
    Fault::Log(format!(
        "record {index} cannot be read; run `birthmark log verify`"
    ))
}
