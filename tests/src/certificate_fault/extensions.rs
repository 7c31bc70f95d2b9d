//! Faults of the other extensions, RFC 5280 §4.2.

use super::certificate::{
    AUTHORITY_INFO_ACCESS, AUTHORITY_KEY_IDENTIFIER, CERTIFICATE_POLICIES, CRL_DISTRIBUTION_POINTS,
    INHIBIT_ANY_POLICY, ISSUER_ALT_NAME, NAME_CONSTRAINTS, POLICY_CONSTRAINTS, POLICY_MAPPINGS,
    SUBJECT_KEY_IDENTIFIER, add, octets, remove, set_critical, set_value, value,
};
use super::{CertificateFault, Change, fault};
use crate::authority::Base::{Idevid, IssuingCa, TlsClient};
use crate::der_tree::Node;

const AKI: &str = "RFC 5280 §4.2.1.1";
const SKI: &str = "RFC 5280 §4.2.1.2";
const POLICIES: &str = "RFC 5280 §4.2.1.4";
const CRL: &str = "RFC 5280 §4.2.1.13";
const AIA: &str = "RFC 5280 §4.2.2.1";
const EXAMPLE_POLICY: &str = "1.3.6.1.4.1.32473.5";

fn policy() -> Node {
    Node::sequence([Node::oid(EXAMPLE_POLICY)])
}

/// `[number] { fullName [0] { URI } }` of a distribution point.
fn point(uri: &[u8]) -> Node {
    let full_name = Node::context_of(0, [Node::context(6, uri)]);
    Node::sequence([Node::context_of(0, [full_name])])
}

fn access(method: &str, location: Node) -> Node {
    Node::sequence([Node::sequence([Node::oid(method), location])])
}

/// `permittedSubtrees [0] { dNSName }`.
fn subtree() -> Node {
    let base = Node::sequence([Node::context(2, b"acme.example")]);
    Node::sequence([Node::context_of(0, [base])])
}

pub(super) const FAULTS: &[CertificateFault] = &[
    fault(
        "extension-unknown-critical",
        Idevid,
        "RFC 5280 §4.2",
        &["extension-unknown-critical"],
        Change::Signed(|c| {
            add(c, "1.3.6.1.4.1.32473.7", true, &Node::null());
        }),
    ),
    fault(
        "extension-unknown",
        Idevid,
        "profile",
        &["profile-extension"],
        Change::Signed(|c| {
            add(c, "1.3.6.1.4.1.32473.7", false, &Node::null());
        }),
    ),
    fault(
        "authority-key-missing",
        Idevid,
        AKI,
        &["aki-missing"],
        Change::Signed(|c| {
            remove(c, AUTHORITY_KEY_IDENTIFIER);
        }),
    ),
    fault(
        "authority-key-critical",
        Idevid,
        AKI,
        &["critical-wrongly"],
        Change::Signed(|c| {
            set_critical(c, AUTHORITY_KEY_IDENTIFIER, true);
        }),
    ),
    fault(
        "authority-key-of-another",
        Idevid,
        AKI,
        &["issuer-key-identifier"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |fields| {
                fields[0].bytes_mut()[0] ^= 1
            });
        }),
    ),
    fault(
        "authority-key-without-fields",
        Idevid,
        AKI,
        &["aki-key-identifier"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |fields| {
                fields.nodes_mut().clear()
            });
        }),
    ),
    fault(
        "authority-key-identifier-empty",
        Idevid,
        AKI,
        &["aki-key-identifier"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |fields| {
                fields[0].bytes_mut().clear()
            });
        }),
    ),
    fault(
        "authority-key-serial-without-issuer",
        Idevid,
        AKI,
        &["aki-pair"],
        Change::Signed(|c| {
            value(c, AUTHORITY_KEY_IDENTIFIER, |fields| {
                fields.push(Node::context(2, &[7]))
            });
        }),
    ),
    fault(
        "authority-key-as-octet-string",
        Idevid,
        AKI,
        &["extension-malformed"],
        Change::Signed(|c| {
            set_value(c, AUTHORITY_KEY_IDENTIFIER, &Node::octets(&[7; 20]));
        }),
    ),
    fault(
        "subject-key-critical",
        TlsClient,
        SKI,
        &["critical-wrongly"],
        Change::Signed(|c| {
            set_critical(c, SUBJECT_KEY_IDENTIFIER, true);
        }),
    ),
    fault(
        "subject-key-empty",
        TlsClient,
        SKI,
        &["ski-empty"],
        Change::Signed(|c| {
            value(c, SUBJECT_KEY_IDENTIFIER, |id| id.bytes_mut().clear());
        }),
    ),
    fault(
        "subject-key-without-octet-string",
        TlsClient,
        SKI,
        &["extension-malformed"],
        Change::Signed(|c| {
            *octets(c, SUBJECT_KEY_IDENTIFIER) = Node::octets(&[7; 20]);
        }),
    ),
    fault(
        "subject-key-missing",
        TlsClient,
        "profile",
        &["profile-extension-missing"],
        Change::Signed(|c| {
            remove(c, SUBJECT_KEY_IDENTIFIER);
        }),
    ),
    fault(
        "subject-key-of-ca-missing",
        IssuingCa,
        SKI,
        &["ski-missing-ca"],
        Change::Signed(|c| {
            remove(c, SUBJECT_KEY_IDENTIFIER);
        }),
    ),
    fault(
        "issuer-names-empty",
        TlsClient,
        "RFC 5280 §4.2.1.7",
        &["san-empty"],
        Change::Signed(|c| {
            add(c, ISSUER_ALT_NAME, false, &Node::sequence([]));
        }),
    ),
    fault(
        "policies-empty",
        TlsClient,
        POLICIES,
        &["policies-empty"],
        Change::Signed(|c| {
            add(c, CERTIFICATE_POLICIES, false, &Node::sequence([]));
        }),
    ),
    fault(
        "policies-twice-the-same",
        TlsClient,
        POLICIES,
        &["policies-twice"],
        Change::Signed(|c| {
            add(
                c,
                CERTIFICATE_POLICIES,
                false,
                &Node::sequence([policy(), policy()]),
            );
        }),
    ),
    fault(
        "policies-qualifiers-empty",
        TlsClient,
        POLICIES,
        &["policies-empty"],
        Change::Signed(|c| {
            let one = Node::sequence([Node::oid(EXAMPLE_POLICY), Node::sequence([])]);
            add(c, CERTIFICATE_POLICIES, false, &Node::sequence([one]));
        }),
    ),
    fault(
        "policies-without-identifier",
        TlsClient,
        POLICIES,
        &["extension-malformed"],
        Change::Signed(|c| {
            add(
                c,
                CERTIFICATE_POLICIES,
                false,
                &Node::sequence([Node::sequence([])]),
            );
        }),
    ),
    fault(
        "policy-mappings-on-device",
        TlsClient,
        "RFC 5280 §4.2.1.5",
        &["ca-only"],
        Change::Signed(|c| {
            let pair =
                Node::sequence([Node::oid(EXAMPLE_POLICY), Node::oid("1.3.6.1.4.1.32473.6")]);
            add(c, POLICY_MAPPINGS, true, &Node::sequence([pair]));
        }),
    ),
    fault(
        "policy-mappings-of-any-policy",
        IssuingCa,
        "RFC 5280 §4.2.1.5",
        &["policy-mapping-any"],
        Change::Signed(|c| {
            let pair = Node::sequence([Node::oid(EXAMPLE_POLICY), Node::oid("2.5.29.32.0")]);
            add(c, POLICY_MAPPINGS, true, &Node::sequence([pair]));
        }),
    ),
    fault(
        "policy-constraints-empty",
        IssuingCa,
        "RFC 5280 §4.2.1.11",
        &["policy-constraints-empty"],
        Change::Signed(|c| {
            add(c, POLICY_CONSTRAINTS, true, &Node::sequence([]));
        }),
    ),
    fault(
        "policy-constraints-not-critical",
        IssuingCa,
        "RFC 5280 §4.2.1.11",
        &["critical-missing"],
        Change::Signed(|c| {
            let fields = Node::sequence([Node::context(0, &[0])]);
            add(c, POLICY_CONSTRAINTS, false, &fields);
        }),
    ),
    fault(
        "inhibit-any-policy-not-critical",
        IssuingCa,
        "RFC 5280 §4.2.1.14",
        &["critical-missing"],
        Change::Signed(|c| {
            add(c, INHIBIT_ANY_POLICY, false, &Node::integer(&[0]));
        }),
    ),
    fault(
        "name-constraints-on-device",
        TlsClient,
        "RFC 5280 §4.2.1.10",
        &["ca-only"],
        Change::Signed(|c| {
            add(c, NAME_CONSTRAINTS, true, &subtree());
        }),
    ),
    fault(
        "name-constraints-not-critical",
        IssuingCa,
        "RFC 5280 §4.2.1.10",
        &["critical-missing"],
        Change::Signed(|c| {
            add(c, NAME_CONSTRAINTS, false, &subtree());
        }),
    ),
    fault(
        "name-constraints-empty",
        IssuingCa,
        "RFC 5280 §4.2.1.10",
        &["name-constraints-empty"],
        Change::Signed(|c| {
            add(c, NAME_CONSTRAINTS, true, &Node::sequence([]));
        }),
    ),
    fault(
        "crl-points-empty",
        TlsClient,
        CRL,
        &["crl-points-empty"],
        Change::Signed(|c| {
            add(c, CRL_DISTRIBUTION_POINTS, false, &Node::sequence([]));
        }),
    ),
    fault(
        "crl-point-of-nothing",
        TlsClient,
        CRL,
        &["crl-point"],
        Change::Signed(|c| {
            add(
                c,
                CRL_DISTRIBUTION_POINTS,
                false,
                &Node::sequence([Node::sequence([])]),
            );
        }),
    ),
    fault(
        "crl-point-of-reasons-alone",
        TlsClient,
        CRL,
        &["crl-point"],
        Change::Signed(|c| {
            let reasons = Node::sequence([Node::context(1, &[6, 0x40])]);
            add(
                c,
                CRL_DISTRIBUTION_POINTS,
                false,
                &Node::sequence([reasons]),
            );
        }),
    ),
    fault(
        "crl-point-without-scheme",
        TlsClient,
        CRL,
        &["general-name-uri"],
        Change::Signed(|c| {
            let points = Node::sequence([point(b"acme.example/ca.crl")]);
            add(c, CRL_DISTRIBUTION_POINTS, false, &points);
        }),
    ),
    fault(
        "information-access-empty",
        TlsClient,
        AIA,
        &["access-empty"],
        Change::Signed(|c| {
            add(c, AUTHORITY_INFO_ACCESS, false, &Node::sequence([]));
        }),
    ),
    fault(
        "information-access-critical",
        TlsClient,
        AIA,
        &["critical-wrongly"],
        Change::Signed(|c| {
            let ocsp = access(
                "1.3.6.1.5.5.7.48.1",
                Node::context(6, b"http://ocsp.acme.example"),
            );
            add(c, AUTHORITY_INFO_ACCESS, true, &ocsp);
        }),
    ),
    fault(
        "information-access-without-location",
        TlsClient,
        AIA,
        &["extension-malformed"],
        Change::Signed(|c| {
            let ocsp = Node::sequence([Node::sequence([Node::oid("1.3.6.1.5.5.7.48.1")])]);
            add(c, AUTHORITY_INFO_ACCESS, false, &ocsp);
        }),
    ),
    fault(
        "information-access-without-scheme",
        TlsClient,
        AIA,
        &["general-name-uri"],
        Change::Signed(|c| {
            let ocsp = access("1.3.6.1.5.5.7.48.1", Node::context(6, b"ocsp.acme.example"));
            add(c, AUTHORITY_INFO_ACCESS, false, &ocsp);
        }),
    ),
    fault(
        "freshest-crl-critical",
        TlsClient,
        "RFC 5280 §4.2.1.15",
        &["critical-wrongly"],
        Change::Signed(|c| {
            let points = Node::sequence([point(b"http://acme.example/delta.crl")]);
            add(c, "2.5.29.46", true, &points);
        }),
    ),
    fault(
        "subject-information-access-critical",
        TlsClient,
        "RFC 5280 §4.2.2.2",
        &["critical-wrongly"],
        Change::Signed(|c| {
            let location = Node::context(6, b"http://acme.example/repository");
            add(
                c,
                "1.3.6.1.5.5.7.1.11",
                true,
                &access("1.3.6.1.5.5.7.48.5", location),
            );
        }),
    ),
];
