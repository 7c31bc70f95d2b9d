//! Whether a lot authorizes a request, and which place of the lot its certificate takes.

use std::collections::HashMap;
use std::sync::Arc;

use birthmark_log::IndexKey;

use super::{LOT_BYTES_MAX, Lot, LotProblem, Lots};
use crate::claims::{Claim, ClaimOutcome};
use crate::fault::Fault;
use crate::index_keys::{IDENTITY_SPACE, lot_digest, lot_index_key};
use crate::number_walk::{NumberWalk, Proposed};
use crate::profile::Profile;
use crate::reissue::History;
use crate::rejection::Rejection;
use crate::request::{IssueError, Request};

/// The lots of a running engine, by name.
#[derive(Debug)]
pub(crate) struct LotBook {
    required: bool,
    lots: HashMap<String, Arc<OpenLot>>,
}

/// A lot with the places in it.
#[derive(Debug)]
pub(crate) struct OpenLot {
    lot: Lot,
    digest: [u8; 32],
    walk: NumberWalk,
}

/// What a request has of a lot. Made before the claim, and looked at when that was got: a request that was answered
/// before needs no lot, and one that is a duplicate is told that.
#[derive(Debug)]
pub(crate) enum LotOffer {
    /// The request names none and needs none.
    None,
    Place(LotPlace),
    /// No place is free now. One that another request in flight holds, so that this one waits for it.
    Waiting {
        lot: Arc<OpenLot>,
        other: u64,
    },
    Refused(Box<Rejection>),
    /// No place could be looked for.
    Failed(Fault),
}

/// A place in a lot, held for one certificate. Dropping it gives it back, unless it was used.
#[derive(Debug)]
pub(crate) struct LotPlace {
    lot: Arc<OpenLot>,
    number: u64,
    used: bool,
}

impl LotPlace {
    /// What no other certificate of the lot has, from 0.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for LotPlace {
    fn drop(&mut self) {
        match self.used {
            true => self.lot.walk.used(self.number),
            false => self.lot.walk.give_back(self.number),
        }
    }
}

impl LotBook {
    /// Every lot that is open must be for a profile that the station has, and restrict no serial numbers that this
    /// hands out: it would go on proposing those that the lot is not for.
    pub(crate) fn new(lots: Lots, profiles: &[Profile]) -> Result<Self, String> {
        let Lots { required, lots } = lots;
        let mut by_name = HashMap::with_capacity(lots.len());
        for lot in lots {
            if !lot.is_closed() {
                lot.check_profile(profiles)?;
            }
            let open = OpenLot {
                digest: lot_digest(lot.name()),
                // Which place it is matters to nobody: gaps come last, and a start looks for none.
                walk: NumberWalk::quota(lot.quantity()),
                lot,
            };
            by_name
                .entry(open.lot.name().to_owned())
                .or_insert_with(|| Arc::new(open));
        }
        Ok(Self {
            required,
            lots: by_name,
        })
    }

    /// What the request gets of its lot. The order is that in which a person looks: which lot, is it open, is it
    /// this line's work, is this the device, is there a place.
    pub(crate) fn offer<H: History>(
        &self,
        request: &Request,
        identity: Option<&str>,
        now_s: Option<u64>,
        history: &H,
    ) -> LotOffer {
        let Some(name) = request.lot.as_deref() else {
            return match self.required {
                false => LotOffer::None,
                true => LotOffer::Refused(Box::new(Rejection::LotNeeded)),
            };
        };
        let refused = |problem| {
            LotOffer::Refused(Box::new(Rejection::Lot {
                lot: name.to_owned(),
                problem,
            }))
        };
        let Some(open) = self.lots.get(name) else {
            return refused(LotProblem::Unknown);
        };
        if let Err(problem) = open.lot.authorizes(request, identity, now_s) {
            return refused(problem);
        }
        match open.take(history) {
            Ok(Proposed::Number(number)) => LotOffer::Place(LotPlace {
                lot: open.clone(),
                number,
                used: false,
            }),
            Ok(Proposed::AllOut(other)) => LotOffer::Waiting {
                lot: open.clone(),
                other,
            },
            Ok(Proposed::AllUsed) => refused(LotProblem::Exhausted {
                quantity: open.lot.quantity,
            }),
            Err(fault) => LotOffer::Failed(fault),
        }
    }
}

impl OpenLot {
    fn take<H: History>(&self, history: &H) -> Result<Proposed, Fault> {
        self.walk.take(
            |number| match history.newest(IDENTITY_SPACE, &self.key(number)) {
                Ok(newest) => Ok(newest.is_some()),
                // The index has it, and the archive may stay where it is.
                Err(Fault::Archived(_)) => Ok(true),
                Err(fault) => Err(fault),
            },
        )
    }

    fn key(&self, number: u64) -> IndexKey {
        lot_index_key(&self.digest, number)
    }
}

impl Lot {
    fn check_profile(&self, profiles: &[Profile]) -> Result<(), String> {
        let mut profiles = profiles.iter();
        let Some(profile) = profiles.find(|profile| profile.name() == self.profile) else {
            return Err(format!(
                "lot {:?} is for profile {}, which the station does not have; list it in engine.profiles, or close \
                 the lot",
                self.name, self.profile
            ));
        };
        match self.serials.is_some() && profile.serials().is_some() {
            true => Err(format!(
                "lot {}:{}: serial: profile {} hands out serial numbers itself; write these numbers in the profile's \
                 [serial], in a profile of their own if need be, and take them out of the lot",
                self.path.display(),
                self.serial_line,
                self.profile
            )),
            false => Ok(()),
        }
    }

    /// All but the quantity. Without a time the clock cannot be right, and nothing is issued anyway.
    fn authorizes(
        &self,
        request: &Request,
        identity: Option<&str>,
        now_s: Option<u64>,
    ) -> Result<(), LotProblem> {
        if self.closed {
            return Err(LotProblem::Closed);
        }
        if let Some(now_s) = now_s {
            if let Some(from) = self.not_before_s
                && now_s < from
            {
                return Err(LotProblem::NotYet(utc(from)));
            }
            if let Some(to) = self.not_after_s
                && now_s > to
            {
                return Err(LotProblem::Over(utc(to)));
            }
        }
        if request.profile != self.profile {
            return Err(LotProblem::OtherProfile(self.profile.clone()));
        }
        if let Some(line) = &self.line
            && request.requester.as_ref() != Some(line)
        {
            return Err(LotProblem::OtherLine(line.clone()));
        }
        match (&self.serials, identity) {
            (None, _) => Ok(()),
            (Some(serials), Some(identity)) if serials.contains(identity) => Ok(()),
            (Some(serials), _) => Err(LotProblem::OtherSerial(serials.to_string())),
        }
    }
}

impl LotOffer {
    /// The index key of the place that the request has or waits for.
    pub(crate) fn key(&self) -> Option<IndexKey> {
        match self {
            Self::Place(place) => Some(place.lot.key(place.number)),
            Self::Waiting { lot, other } => Some(lot.key(*other)),
            Self::None | Self::Refused(_) | Self::Failed(_) => None,
        }
    }

    /// The number of the place, for the record.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Place(place) => Some(place.number()),
            _ => None,
        }
    }

    /// The certificate is in the log: the place is not given back.
    pub(crate) fn used(&mut self) {
        if let Self::Place(place) = self {
            place.used = true;
        }
    }
}

/// What becomes of a request that got its claim and has no place.
#[derive(Debug)]
pub(crate) enum LotOutcome {
    /// The claim goes back, with this answer.
    Refused(Claim, IssueError),
    /// A place was given back meanwhile: the claim goes back, and the request begins anew.
    Again(Claim),
}

impl LotOutcome {
    /// The outcome of a claim as it is, unless the lot changes it.
    pub(crate) fn judge(outcome: ClaimOutcome<'_>) -> Result<Self, ClaimOutcome<'_>> {
        let ClaimOutcome::Claimed(claimed) = outcome else {
            return Err(outcome);
        };
        match claimed.request.lot {
            LotOffer::None | LotOffer::Place(_) => Err(ClaimOutcome::Claimed(claimed)),
            LotOffer::Waiting { .. } => Ok(Self::Again(claimed.claim)),
            LotOffer::Refused(rejection) => Ok(Self::Refused(
                claimed.claim,
                IssueError::Rejected(*rejection),
            )),
            LotOffer::Failed(fault) => Ok(Self::Refused(claimed.claim, IssueError::Fault(fault))),
        }
    }
}

/// Bounds on who asks, as there are on the lot's name.
pub(crate) fn check_requester(requester: Option<&str>) -> Result<(), Rejection> {
    let Some(requester) = requester else {
        return Ok(());
    };
    if requester.len() > LOT_BYTES_MAX {
        return Err(Rejection::DataLimit("the line's name has over 128 bytes"));
    }
    if requester.chars().any(char::is_control) {
        return Err(Rejection::DataValue("a control character in its name"));
    }
    Ok(())
}

/// Such as `2026-03-01T06:00:00Z`.
fn utc(seconds: u64) -> String {
    let time = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds));
    time.map_or_else(
        |_| format!("{seconds} s since 1970"),
        |time| time.to_string(),
    )
}
