//! The device's serial number on the way of a request: brought along, handed out, or none left.

use std::sync::Arc;

use crate::claims::{Claim, ClaimOutcome};
use crate::csr::VerifiedRequest;
use crate::fault::Fault;
use crate::index_keys::{KEY_SPACE, key_index_key};
use crate::profile::Profile;
use crate::record::Record;
use crate::reissue::History;
use crate::rejection::Rejection;
use crate::serial_allocator::{AllocatedSerial, SerialAllocator, Taken};
use crate::template::brings_serial;

/// The device's serial number, where the profile hands them out.
#[derive(Debug)]
pub(crate) enum SerialOffer {
    /// The request brings its own, or the profile has nothing to do with them.
    None,
    /// The request brings its own. The identity that the request would have if it did not.
    Brought(Box<[u8; 32]>),
    /// The device has it already, by its key's record.
    Own(Box<OwnNumber>),
    /// Proposed for this request; it is the identity.
    Allocated(Box<AllocatedSerial>),
    /// None is free now. The number of another request in flight stands for the identity, so that this one waits
    /// for it.
    Waiting(Box<str>),
    /// None is left: only what was answered before can be answered. Some other device's number stands for the
    /// identity.
    Exhausted(Box<str>),
}

/// The number of a device that has one.
#[derive(Debug)]
pub(crate) struct OwnNumber {
    text: String,
    /// The identity that the request would have if it brought the number.
    pub(crate) brought_id: [u8; 32],
}

impl SerialOffer {
    /// The number for a request that brings none: the one that its key's record has, otherwise a free one.
    pub(crate) fn new<H: History>(
        serials: Option<&Arc<SerialAllocator>>,
        profile: &Profile,
        request: &VerifiedRequest<'_>,
        history: &H,
    ) -> Result<Self, Fault> {
        let serials = match serials {
            Some(serials) if !brings_serial(request) => serials,
            _ => return Ok(Self::None),
        };
        if !request.generated
            && let Some(own) = own_number(profile, &request.key.fingerprint(), history)?
        {
            return Ok(Self::Own(Box::new(own)));
        }
        Ok(match serials.take(history)? {
            Taken::Serial(serial) => Self::Allocated(Box::new(serial)),
            Taken::AllOut(other) => Self::Waiting(other.into_boxed_str()),
            Taken::AllUsed(other) => Self::Exhausted(other.into_boxed_str()),
        })
    }

    /// The request failed, and the number may be why.
    pub(crate) fn set_aside(&mut self) {
        if let Self::Allocated(serial) = self {
            serial.set_aside();
        }
    }

    /// The number that was handed out.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::None | Self::Brought(_) => None,
            Self::Own(own) => Some(&own.text),
            Self::Allocated(serial) => Some(serial.text()),
            Self::Waiting(other) | Self::Exhausted(other) => Some(other),
        }
    }

    /// What the request's identity would be if it brought the number that it was given, or the other way round.
    pub(crate) fn other_request_id(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Brought(other) => Some(other),
            Self::Own(own) => Some(&own.brought_id),
            _ => None,
        }
    }

    pub(crate) fn state(&self) -> SerialState {
        match self {
            Self::None | Self::Brought(_) | Self::Own(_) => SerialState::Own,
            Self::Allocated(_) => SerialState::Allocated,
            Self::Waiting(_) => SerialState::Waiting,
            Self::Exhausted(_) => SerialState::Exhausted,
        }
    }
}

/// The number in the newest record with this key, if that is in the profile's identity domain.
fn own_number<H: History>(
    profile: &Profile,
    fingerprint: &[u8; 32],
    history: &H,
) -> Result<Option<OwnNumber>, Fault> {
    let key = key_index_key(profile.key_domain(), fingerprint);
    let Some(index) = history.newest(KEY_SPACE, &key)? else {
        return Ok(None);
    };
    let record = history.record(index)?;
    let Ok(Record::Issued(issued)) = Record::decode(&record) else {
        return Ok(None);
    };
    let here = issued.identity_domain() == profile.identity_domain();
    let number = issued.identity.filter(|number| {
        here && profile
            .serials()
            .is_some_and(|serials| serials.contains(number))
    });
    Ok(number.map(|number| OwnNumber {
        text: number.to_owned(),
        brought_id: [0; 32],
    }))
}

/// Whether a serial number was handed out to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SerialState {
    Own,
    Allocated,
    Waiting,
    Exhausted,
}

/// A claim's outcome that means something else because of the serial number.
#[derive(Debug)]
pub(crate) enum SerialOutcome {
    /// There is no number for this device. A claim that it got all the same goes back.
    Exhausted(Option<Claim>),
    /// What the number was is not so any more: a device that brought it itself was faster, or it was given back. A
    /// claim that the request got goes back, and it begins anew.
    Again(Option<Claim>),
}

impl SerialState {
    /// What becomes of a request by its claim's outcome, where the number changes that.
    pub(crate) fn judge(
        self,
        outcome: ClaimOutcome<'_>,
    ) -> Result<SerialOutcome, ClaimOutcome<'_>> {
        match (self, outcome) {
            (Self::Exhausted, ClaimOutcome::Claimed(claimed)) => {
                Ok(SerialOutcome::Exhausted(Some(claimed.claim)))
            }
            (Self::Exhausted, ClaimOutcome::Refused(rejection)) if is_taken(&rejection) => {
                Ok(SerialOutcome::Exhausted(None))
            }
            // The record that stands in for others is in an archive that is not mounted.
            (Self::Exhausted, ClaimOutcome::Failed(Fault::Archived(_))) => {
                Ok(SerialOutcome::Exhausted(None))
            }
            (Self::Waiting, ClaimOutcome::Failed(Fault::Archived(_))) => {
                Ok(SerialOutcome::Again(None))
            }
            (Self::Waiting, ClaimOutcome::Claimed(claimed)) => {
                Ok(SerialOutcome::Again(Some(claimed.claim)))
            }
            (Self::Allocated | Self::Waiting, ClaimOutcome::Refused(rejection))
                if is_taken(&rejection) =>
            {
                Ok(SerialOutcome::Again(None))
            }
            (_, outcome) => Err(outcome),
        }
    }
}

/// Whether a rejection says that another device has the identity.
fn is_taken(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::IdentityInUse { .. }
            | Rejection::ReissueLimit { .. }
            | Rejection::PermitNeeded { .. }
            | Rejection::Permit { .. }
    )
}
