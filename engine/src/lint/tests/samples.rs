//! Made-up certificates of profiles: what the engine looks at before it takes a profile.

use std::path::Path;

use super::super::{check_issued, der::single};
use super::parts::*;
use super::release::issuer;
use crate::der::tag;
use crate::issuer::Issuer;
use crate::key::DeviceKeyAlgorithm;
use crate::profile::{Profile, READY_MADE};

fn check(text: &str) -> Result<(), String> {
    let profile = Profile::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())?;
    profile.check_samples(&issuer())
}

/// A profile for CAs that says everything itself. What is appended stands under `[extensions]`.
const CA: &str = "name = \"c\"\nbase = \"custom\"\nidentity = \"{csr.key.id}\"\n\
    [[subject]]\ntype = \"CN\"\nvalue = \"{csr.subject.CN}\"\n\
    [validity]\ndays = 10\n[key]\nalgorithms = [\"p256\"]\n\
    [extensions]\nkey_usage = [\"keyCertSign\"]\nbasic_constraints = \"ca\"\n";

fn other(oid: &str, critical: bool, der: &str) -> String {
    format!("{CA}[[extensions.other]]\noid = \"{oid}\"\ncritical = {critical}\nder = \"{der}\"\n")
}

#[test]
fn ready_made_profiles_pass() {
    for ready in READY_MADE {
        assert_eq!(check(ready.toml), Ok(()), "{}", ready.name);
    }
}

#[test]
fn profiles_whose_certificates_no_check_would_release_are_refused() {
    assert_eq!(check(CA), Ok(()));
    let error = check(&format!("{CA}subject_key_identifier = false\n")).unwrap_err();
    assert!(
        error.contains("a CA without subject key identifier"),
        "{error}"
    );
    // An issuer alternative name without names, and name constraints that are not critical.
    let error = check(&other("2.5.29.18", false, "3000")).unwrap_err();
    assert!(error.contains("alternative names that is empty"), "{error}");
    let error = check(&other(
        "2.5.29.30",
        false,
        "300fa00d300b820961636d652e74657374",
    ))
    .unwrap_err();
    assert!(error.contains("must be critical is not"), "{error}");
}

#[test]
fn addresses_are_ones_that_the_linter_takes() {
    let points = |address: &str| check(&format!("{CA}crl_distribution_points = [\"{address}\"]\n"));
    assert_eq!(points("http://crl.example/a"), Ok(()));
    let error = points("http://crl_srv/a").unwrap_err();
    assert!(error.contains("not an absolute URI"), "{error}");
}

#[test]
fn a_critical_extension_of_the_maker_passes() {
    assert_eq!(check(&other("1.3.6.1.4.1.32473.9", true, "0500")), Ok(()));
}

#[test]
fn every_path_length_passes() {
    for length in [0, 1, 127, 128, 255] {
        let text = format!("{CA}path_length = {length}\n");
        assert_eq!(check(&text), Ok(()), "{length}");
    }
}

/// The sample with a signature of the issuer.
fn signed(profile: &Profile, issuer: &Issuer) -> Vec<u8> {
    let spki = Parts::end_entity().spki;
    let sample = profile.sample(&spki, DeviceKeyAlgorithm::EcP256, issuer, &[0x40; 16]);
    let whole = single(&sample, tag::SEQUENCE).unwrap();
    let tbs = whole.values().next().unwrap().encoding;
    let signature = tlv(tag::BIT_STRING, &[&[0], &sign(tbs)[..]].concat());
    seq(&[
        tbs.to_vec(),
        issuer.signature_algorithm().to_vec(),
        signature,
    ])
}

#[test]
fn certificates_of_every_ready_made_profile_pass_in_the_log() {
    let issuer = issuer();
    for ready in READY_MADE {
        let profile = Profile::parse(ready.toml, Path::new("p.toml")).unwrap();
        let certificate = signed(&profile, &issuer);
        assert_eq!(
            check_issued(&certificate, &issuer, issuer.form()),
            Ok(()),
            "{}",
            ready.name
        );
    }
}
