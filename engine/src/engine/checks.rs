//! What must hold of a station before its engine starts, and what the log is told of the start.

use birthmark_hsm::SigningPool;
use birthmark_log::tlog::CheckpointSigner;

use super::{MAX_IN_FLIGHT_DEFAULT, MAX_IN_FLIGHT_MAX, OpenError};
use crate::activation::Activation;
use crate::checkpoint::LogKey;
use crate::issuer::Issuer;
use crate::permit::Officers;
use crate::profile::Profile;
use crate::record::ActivatedRecord;
use crate::reissue::Reissue;
use crate::serial_domains::check_serial_domains;

/// The record of a start whose key is on tokens.
pub(super) fn activated(activation: Activation, issuer: &Issuer, signer: &SigningPool) -> Vec<u8> {
    let record = ActivatedRecord {
        time_ms: 0,
        issuer: issuer.key_identifier(),
        activation: activation.name(),
        signer: &signer.describe(),
    };
    record.encode()
}

pub(super) fn check_range(max_in_flight: Option<usize>) -> Result<u32, OpenError> {
    match max_in_flight.unwrap_or(MAX_IN_FLIGHT_DEFAULT) {
        count @ 1..=MAX_IN_FLIGHT_MAX => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => Err(OpenError::Range {
            key: "max_in_flight",
            range: "1 to 65536",
        }),
    }
}

pub(super) fn check_profiles(profiles: &[Profile], issuer: &Issuer) -> Result<(), OpenError> {
    if profiles.is_empty() {
        return Err(OpenError::Profiles(
            "there is none; list at least one in engine.profiles".into(),
        ));
    }
    for (number, profile) in profiles.iter().enumerate() {
        if profiles[..number]
            .iter()
            .any(|other| other.name() == profile.name())
        {
            return Err(OpenError::Profiles(format!(
                "two are named {:?}",
                profile.name()
            )));
        }
        profile
            .check_issuer(issuer)
            .and_then(|()| profile.check_samples(issuer))
            .map_err(|problem| {
                OpenError::Profiles(format!("profile {} {problem}", profile.name()))
            })?;
    }
    check_serial_domains(profiles).map_err(OpenError::Profiles)
}

pub(super) fn check_officers(
    profiles: &[Profile],
    officers: Option<&Officers>,
    log_key: &LogKey,
) -> Result<(), OpenError> {
    let origin = log_key.verifier_key().name();
    if let Some(officers) = officers
        && officers.log() != origin
    {
        return Err(OpenError::OfficersOfOtherLog {
            named: officers.log().to_owned(),
            origin: origin.to_owned(),
        });
    }
    let asking = profiles
        .iter()
        .find(|profile| profile.reissue() == Reissue::Permit);
    match asking {
        Some(profile) if officers.is_none() => Err(OpenError::NoOfficer {
            profile: profile.name().to_owned(),
        }),
        _ => Ok(()),
    }
}
