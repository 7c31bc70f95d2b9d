//! Matter's identifiers inside the common name: what a profile asks of them.

use std::path::Path;

use super::super::*;
use super::parts::*;
use crate::der::tag;
use crate::profile::Profile;

const VENDOR: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0xa2, 0x7c, 2, 1];
const PRODUCT: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0xa2, 0x7c, 2, 2];

fn profile(base: &str) -> Profile {
    let text = format!(
        "name = \"m\"\nbase = \"{base}\"\nidentity = \"{{csr.subject.CN}}\"\n[[subject]]\ntype = \"CN\"\n\
         value = \"{{csr.subject.CN}} Mvid:FFF1 Mpid:00B1\"\n[validity]\nnot_after = \"99991231235959Z\"\n\
         [key]\nalgorithms = [\"p256\"]\n"
    );
    Profile::parse(&text, Path::new("m.toml")).unwrap()
}

fn utf8(oid: &[u8], text: &str) -> Vec<u8> {
    attribute(oid, tag::UTF8_STRING, text.as_bytes())
}

fn cn(text: &str) -> Vec<u8> {
    name(&[utf8(CN, text)])
}

/// The findings about Matter's identifiers.
fn found(issuer: &[u8], subject: &[u8], base: &str) -> String {
    let mut parts = Parts::end_entity();
    parts.issuer = issuer.to_vec();
    parts.subject = subject.to_vec();
    let profile = profile(base);
    let options = Options {
        profile: Some(&profile),
        ..Options::default()
    };
    let ids = lint(&parts.der(), &options)
        .into_iter()
        .map(|finding| finding.rule.id);
    let ids = ids.filter(|id| id.contains("matter"));
    ids.collect::<Vec<_>>().join(" ")
}

#[test]
fn marks_in_the_common_name_are_read_as_matter_says() {
    let pai = name(&[utf8(CN, "PAI"), utf8(VENDOR, "FFF1"), utf8(PRODUCT, "00B1")]);
    let (good, incomplete, other) = ("", "profile-matter-ids", "matter-issuer");
    for (text, expected) in [
        ("ACME DAC 5CDA9899 Mvid:FFF1 Mpid:00B1", good),
        ("ACME DAC 5CDA9899 Mpid:00B1 Mvid:FFF1", good),
        ("Mpid:00B1,ACME DAC,Mvid:FFF1", good),
        ("Mvid:FFF1Mpid:00B1", good),
        ("Mvid:FFF1ACME DAC 5CDAMpid:00B19899", good),
        ("MpidMvid:FFF10 Test Mpid:00B1", good),
        ("ACME DAC Mvid:FF1 Mpid:00B1", incomplete),
        ("ACME DAC Mvid:fff1 Mpid:00B1", incomplete),
        ("ACME DAC Mvid:FFF1 Mpid:B1", incomplete),
        ("ACME DAC Mpid: Mvid:FFF1", incomplete),
        ("ACME DAC Mpid:00B1 Mvid:FFF", incomplete),
        ("ACME DAC Mpid:Mvid:Fff1", incomplete),
        ("ACME DAC Mpid:00B1 MVID:FFF1", incomplete),
        ("ACME DAC Mpid_00B1 Mvid_FFF1", incomplete),
        ("ACME DAC Mvid:FFF1 Mpid:XYZ1", incomplete),
        ("ACME DAC Mvid:FFF1 Mpid:00B1 Mvid:FFF1", incomplete),
        ("ACME DAC Mvid:FFF1", incomplete),
        ("ACME DAC", incomplete),
        ("ACME DAC Mvid:FFF2 Mpid:00B1", other),
        ("ACME DAC Mvid:FFF1 Mpid:00B2", other),
    ] {
        assert_eq!(found(&pai, &cn(text), "matter-dac"), expected, "{text}");
    }
    // An issuer that has them in its common name counts as well, and one that names no product leaves it open.
    let dac = name(&[utf8(CN, "1"), utf8(VENDOR, "FFF1"), utf8(PRODUCT, "00B2")]);
    for (issuer, expected) in [
        ("PAI Mvid:FFF1", good),
        ("PAI Mvid:FFF2", other),
        ("PAI Mvid:FFF1 Mpid:00B1", other),
    ] {
        assert_eq!(found(&cn(issuer), &dac, "matter-dac"), expected, "{issuer}");
    }
}

#[test]
fn attributes_overrule_the_common_name_and_a_product_needs_its_vendor() {
    let pai = name(&[utf8(CN, "PAI"), utf8(VENDOR, "FFF1")]);
    let both = |text: &str, vendor: &str| {
        name(&[utf8(CN, text), utf8(VENDOR, vendor), utf8(PRODUCT, "00B1")])
    };
    let marks = "DAC Mvid:FFF2 Mpid:00B2";
    assert_eq!(found(&pai, &both(marks, "FFF1"), "matter-dac"), "");
    let marks = "DAC Mvid:FFF1 Mpid:00B1";
    assert_eq!(
        found(&pai, &both(marks, "FFF2"), "matter-dac"),
        "matter-issuer"
    );
    let mixed = name(&[utf8(CN, "Mvid:FFF1"), utf8(PRODUCT, "00B1")]);
    assert_eq!(found(&pai, &mixed, "matter-dac"), "profile-matter-ids");
    // A PAI needs no product.
    assert_eq!(found(&cn("PAA"), &cn("PAI Mvid:FFF1"), "matter-pai"), "");
    assert_eq!(
        found(&cn("PAA"), &cn("PAI Mvid:FFF1 Mpid:1"), "matter-pai"),
        "profile-matter-ids"
    );
}
