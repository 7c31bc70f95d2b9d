//! Faults of Matter's device attestation certificates, Matter 1.x §6.2.2.3: what the general rules do not say.

use super::certificate::{
    AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, COMMON_NAME, KEY_USAGE, SUBJECT,
    SUBJECT_KEY_IDENTIFIER, add, printable, rdn, remove, set_critical, set_value, utf8,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{MatterDac, MatterDacMarks};
use crate::authority::MATTER_VENDOR;
use crate::der_tree::{Node, tag};

const DAC: &str = "Matter §6.2.2.3";
const IDS: &str = "Matter §6.2.2.2";

/// Places of vendor and product in the subject, behind the common name.
const VENDOR: usize = 1;
const PRODUCT: usize = 2;

fn set_id(certificate: &mut Node, rdn: usize, value: Node) {
    certificate[0][SUBJECT][rdn][0][1] = value;
}

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "matter-vendor-missing",
        MatterDac,
        DAC,
        &["profile-subject-attributes"],
        Change::Signed(|c| {
            c[0][SUBJECT].nodes_mut().remove(VENDOR);
        }),
    ),
    fault(
        "matter-product-missing",
        MatterDac,
        DAC,
        &["profile-subject-attributes"],
        Change::Signed(|c| {
            c[0][SUBJECT].nodes_mut().remove(PRODUCT);
        }),
    ),
    fault(
        "matter-vendor-twice",
        MatterDac,
        DAC,
        &["profile-subject-attributes"],
        Change::Signed(|c| {
            c[0][SUBJECT].push(rdn(MATTER_VENDOR, utf8("FFF1")));
        }),
    ),
    fault(
        "matter-vendor-of-another",
        MatterDac,
        DAC,
        &["matter-issuer"],
        Change::Signed(|c| {
            set_id(c, VENDOR, utf8("FFF2"));
        }),
    ),
    fault(
        "matter-vendor-in-lower-case",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, VENDOR, utf8("fff1"));
        }),
    ),
    fault(
        "matter-vendor-of-three-digits",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, VENDOR, utf8("FFF"));
        }),
    ),
    fault(
        "matter-vendor-of-five-digits",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, VENDOR, utf8("0FFF1"));
        }),
    ),
    fault(
        "matter-vendor-not-hexadecimal",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, VENDOR, utf8("FFG1"));
        }),
    ),
    fault(
        "matter-vendor-printable",
        MatterDac,
        IDS,
        &["name-string-type"],
        Change::Signed(|c| {
            set_id(c, VENDOR, printable("FFF1"));
        }),
    ),
    fault(
        "matter-product-in-lower-case",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, PRODUCT, utf8("800a"));
        }),
    ),
    fault(
        "matter-product-of-three-digits",
        MatterDac,
        IDS,
        &["name-matter-id"],
        Change::Signed(|c| {
            set_id(c, PRODUCT, utf8("800"));
        }),
    ),
    fault(
        "matter-product-of-two-octets",
        MatterDac,
        IDS,
        &["name-string-type"],
        Change::Signed(|c| {
            set_id(c, PRODUCT, Node::octets(&[0x80, 0x00]));
        }),
    ),
    fault(
        "matter-constraints-missing",
        MatterDac,
        DAC,
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, BASIC_CONSTRAINTS);
        }),
    ),
    fault(
        "matter-constraints-not-critical",
        MatterDac,
        DAC,
        &["profile-critical"],
        Change::Signed(|c| {
            set_critical(c, BASIC_CONSTRAINTS, false);
        }),
    ),
    fault(
        "matter-constraints-ca",
        MatterDac,
        DAC,
        &["profile-basic-constraints"],
        Change::Signed(|c| {
            let ca = Node::primitive(tag::BOOLEAN, &[0xff]);
            set_value(c, BASIC_CONSTRAINTS, &Node::sequence([ca]));
        }),
    ),
    fault(
        "matter-constraints-path-length",
        MatterDac,
        DAC,
        &["basic-constraints-path-length"],
        Change::Signed(|c| {
            set_value(c, BASIC_CONSTRAINTS, &Node::sequence([Node::integer(&[0])]));
        }),
    ),
    fault(
        "matter-usage-missing",
        MatterDac,
        DAC,
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, KEY_USAGE);
        }),
    ),
    fault(
        "matter-usage-not-critical",
        MatterDac,
        DAC,
        &["profile-critical"],
        Change::Signed(|c| {
            set_critical(c, KEY_USAGE, false);
        }),
    ),
    fault(
        "matter-usage-crl-sign",
        MatterDac,
        DAC,
        &["profile-key-usage"],
        Change::Signed(|c| {
            set_value(c, KEY_USAGE, &Node::bits(1, &[0x82]));
        }),
    ),
    fault(
        "matter-usage-cert-sign",
        MatterDac,
        DAC,
        &["profile-key-usage"],
        Change::Signed(|c| {
            set_value(c, KEY_USAGE, &Node::bits(2, &[0x84]));
        }),
    ),
    fault(
        "matter-usage-key-agreement",
        MatterDac,
        DAC,
        &["profile-key-usage"],
        Change::Signed(|c| {
            set_value(c, KEY_USAGE, &Node::bits(3, &[0x08]));
        }),
    ),
    fault(
        "matter-authority-key-missing",
        MatterDac,
        DAC,
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, AUTHORITY_KEY_IDENTIFIER);
        }),
    ),
    fault(
        "matter-authority-key-of-19-octets",
        MatterDac,
        DAC,
        &["issuer-key-identifier"],
        Change::Signed(|c| {
            let fields = Node::sequence([Node::context(0, &[7; 19])]);
            set_value(c, AUTHORITY_KEY_IDENTIFIER, &fields);
        }),
    ),
    fault(
        "matter-subject-key-missing",
        MatterDac,
        DAC,
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, SUBJECT_KEY_IDENTIFIER);
        }),
    ),
    fault(
        "matter-purposes",
        MatterDac,
        "profile",
        &["profile-extension"],
        Change::Signed(|c| {
            let purposes = Node::sequence([Node::oid("1.3.6.1.5.5.7.3.2")]);
            add(c, "2.5.29.37", false, &purposes);
        }),
    ),
    fault(
        "matter-over-600-bytes",
        MatterDac,
        DAC,
        &["profile-size"],
        Change::Signed(|c| {
            add(c, "1.3.6.1.4.1.32473.7", false, &Node::octets(&[7; 200]));
        }),
    ),
    fault(
        "matter-key-p384",
        MatterDac,
        DAC,
        &["profile-key"],
        Change::Signed(|c| {
            c[0][6] = Node::parse(&p384_key());
        }),
    ),
    marks(
        "matter-mark-of-vendor-missing",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mpid:8000"),
    ),
    marks(
        "matter-mark-of-product-missing",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mvid:FFF1"),
    ),
    marks(
        "matter-mark-of-vendor-in-lower-case",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mvid:fff1 Mpid:8000"),
    ),
    marks(
        "matter-mark-of-vendor-of-three-digits",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mvid:FFF Mpid:8000"),
    ),
    marks(
        "matter-mark-of-product-of-two-digits",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mvid:FFF1 Mpid:80"),
    ),
    marks(
        "matter-mark-of-product-empty",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mpid: Mvid:FFF1"),
    ),
    marks(
        "matter-mark-of-product-not-hexadecimal",
        &["profile-matter-ids"],
        |c| set_common_name(c, "device Mvid:FFF1 Mpid:80Z0"),
    ),
    marks("matter-mark-in-capitals", &["profile-matter-ids"], |c| {
        set_common_name(c, "device MVID:FFF1 Mpid:8000");
    }),
    marks("matter-marks-without-colon", &["profile-matter-ids"], |c| {
        set_common_name(c, "device Mvid_FFF1 Mpid_8000")
    }),
    marks("matter-mark-twice", &["profile-matter-ids"], |c| {
        set_common_name(c, "device Mvid:FFF1 Mpid:8000 Mvid:FFF1");
    }),
    marks(
        "matter-mark-beside-an-attribute",
        &["profile-matter-ids"],
        |c| c[0][SUBJECT].push(rdn(MATTER_PRODUCT, utf8("8000"))),
    ),
    marks("matter-mark-of-another-vendor", &["matter-issuer"], |c| {
        set_common_name(c, "device Mvid:FFF2 Mpid:8000");
    }),
];

const MATTER_PRODUCT: &str = "1.3.6.1.4.1.37244.2.2";

/// A fault of identifiers inside the common name.
const fn marks(
    name: &'static str,
    rules: &'static [&'static str],
    change: fn(&mut Node),
) -> CertificateFault {
    fault(name, MatterDacMarks, IDS, rules, Change::Signed(change))
}

fn set_common_name(certificate: &mut Node, text: &str) {
    certificate[0][SUBJECT][0] = rdn(COMMON_NAME, utf8(text));
}

/// A good P-384 key.
fn p384_key() -> Vec<u8> {
    let algorithm = birthmark_hsm::KeyAlgorithm::EcP384;
    let device = birthmark_loadgen::device::Device::make(algorithm, 64, 0).unwrap();
    device.public_key_info().unwrap()
}
