//! The device's serial number on the way of a request: brought along, handed out, or none left.

use std::sync::Arc;

use crate::claims::{Claim, ClaimOutcome};
use crate::csr::VerifiedRequest;
use crate::fault::Fault;
use crate::reissue::History;
use crate::rejection::Rejection;
use crate::serial_allocator::{AllocatedSerial, SerialAllocator, Taken};
use crate::template::brings_serial;

/// The device's serial number, where the profile hands them out.
#[derive(Debug)]
pub(crate) enum SerialOffer {
    /// The request brings its own, or the profile has nothing to do with them.
    None,
    /// Proposed for this request; it is the identity.
    Allocated(Box<AllocatedSerial>),
    /// None is free now. The number of another request in flight stands for the identity, so that this one waits
    /// for it.
    Waiting(Box<str>),
    /// None is left: only what was answered before can be answered. Some other device's number stands for the
    /// identity.
    Exhausted(Box<str>),
}

impl SerialOffer {
    /// Takes a number for a request that brings none.
    pub(crate) fn new<H: History>(
        serials: Option<&Arc<SerialAllocator>>,
        request: &VerifiedRequest<'_>,
        history: &H,
    ) -> Result<Self, Fault> {
        Ok(match serials {
            Some(serials) if !brings_serial(request) => match serials.take(history)? {
                Taken::Serial(serial) => Self::Allocated(Box::new(serial)),
                Taken::AllOut(other) => Self::Waiting(other.into_boxed_str()),
                Taken::AllUsed(other) => Self::Exhausted(other.into_boxed_str()),
            },
            _ => Self::None,
        })
    }

    /// The number that was handed out.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Allocated(serial) => Some(serial.text()),
            Self::Waiting(other) | Self::Exhausted(other) => Some(other),
        }
    }

    pub(crate) fn state(&self) -> SerialState {
        match self {
            Self::None => SerialState::Own,
            Self::Allocated(_) => SerialState::Allocated,
            Self::Waiting(_) => SerialState::Waiting,
            Self::Exhausted(_) => SerialState::Exhausted,
        }
    }
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
        Rejection::IdentityInUse { .. } | Rejection::PermitNeeded { .. } | Rejection::Permit { .. }
    )
}
