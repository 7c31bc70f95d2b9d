//! The rows: which rules break, and by which change of a good certificate.

use super::parts::*;
use crate::der::tag;
use crate::oid;

/// The identifiers of the rules, sorted, and the change that breaks exactly these.
pub(super) type Fault = (&'static str, fn(&mut Parts));

const BMP_STRING: u8 = 0x1e;
const TELETEX_STRING: u8 = 0x14;
const SHA256_WITH_RSA: &[u8] = oid::RSA_SHA256;
const SHA1_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const X25519: &[u8] = &[0x2b, 0x65, 0x6e];
const CPS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 1];
const USER_NOTICE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 2, 2];
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0];
const MATTER_VID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0xa2, 0x7c, 2, 1];

fn subject(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
    name(&[attribute(oid, tag, text)])
}

fn private(parts: &mut Parts, value: Vec<u8>) {
    parts.add(PRIVATE, false, value);
}

fn san(parts: &mut Parts, tag: u8, content: &[u8]) {
    parts.set(oid::SUBJECT_ALT_NAME, alt_name(tag, content));
}

/// A value of the subject's, which no other rule looks into.
fn oddity(parts: &mut Parts, tag: u8, content: &[u8]) {
    parts.subject = subject(PRIVATE, tag, content);
}

/// 2^2048 - 29, which has no small factor.
fn sound_modulus() -> Vec<u8> {
    let mut modulus = vec![0xff; 257];
    modulus[0] = 0;
    modulus[255..].copy_from_slice(&[0xff, 0xe3]);
    modulus
}

fn rsa(change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Vec<u8> {
    let (mut modulus, mut exponent) = (sound_modulus(), vec![1, 0, 1]);
    change(&mut modulus, &mut exponent);
    rsa_spki(&modulus, &exponent)
}

fn policies(parts: &mut Parts, qualifier: Vec<u8>) {
    let policy = seq(&[oid(PRIVATE), seq(&[qualifier])]);
    parts.set(POLICIES, seq(&[policy]));
}

pub(super) const END_ENTITY: &[Fault] = &[
    ("der-trailing", |p| p.trailing = vec![5, 0]),
    ("der-tag name-structure", |p| oddity(p, 0x1f, &[])),
    ("der-length-minimal", |p| {
        p.not_before = [&[tag::UTC_TIME, 0x81, 13][..], b"260101000000Z"].concat();
    }),
    ("der-constructed", |p| {
        p.subject = subject(PRIVATE, 0x2c, &tlv(tag::UTF8_STRING, b"a"));
    }),
    ("der-primitive", |p| oddity(p, 0x10, &[5, 0])),
    ("der-end-of-contents", |p| oddity(p, 0x00, &[1])),
    ("der-boolean", |p| oddity(p, tag::BOOLEAN, &[1])),
    ("der-integer", |p| {
        p.serial = tlv(tag::INTEGER, &[&[0][..], &[0x4a; 16]].concat());
    }),
    ("der-null", |p| oddity(p, tag::NULL, &[0])),
    ("der-bit-string", |p| oddity(p, tag::BIT_STRING, &[8, 0])),
    ("der-unused-bits", |p| oddity(p, tag::BIT_STRING, &[1, 1])),
    ("der-oid", |p| oddity(p, tag::OID, &[0x2b, 0x80, 1])),
    ("limit-oid", |p| oddity(p, tag::OID, &[0x2b; 65])),
    ("der-printable-string", |p| {
        p.subject = subject(CN, tag::PRINTABLE_STRING, b"a@b");
    }),
    ("der-numeric-string", |p| oddity(p, 0x12, b"1a")),
    ("der-ia5-string", |p| oddity(p, tag::IA5_STRING, b"\xe4")),
    ("der-utf8-string", |p| {
        p.subject = subject(CN, tag::UTF8_STRING, b"\xff");
    }),
    ("der-bmp-string name-string-old", |p| {
        p.subject = subject(CN, BMP_STRING, b"abc");
    }),
    ("der-set-order", |p| {
        let common = attribute(CN, tag::UTF8_STRING, b"b");
        p.subject = name(&[attribute(C, tag::PRINTABLE_STRING, b"DE"), common]);
    }),
    ("der-default", |p| {
        let mut list = p.extension_values();
        let value = tlv(tag::OCTET_STRING, &[5, 0]);
        list.push(seq(&[oid(PRIVATE), vec![tag::BOOLEAN, 1, 0], value]));
        p.extension_list = Some(seq(&list));
    }),
    ("der-default", |p| {
        p.set(oid::BASIC_CONSTRAINTS, seq(&[vec![tag::BOOLEAN, 1, 0]]));
    }),
    ("limit-extensions", |p| {
        for arc in 0..30 {
            let oid: &'static [u8] = vec![0x2b, 6, 1, 4, 1, arc].leak();
            p.add(oid, false, vec![5, 0]);
        }
    }),
    // The certificate and its fields.
    ("structure", |p| {
        p.serial = tlv(tag::OCTET_STRING, &[0x4a; 16])
    }),
    ("structure", |p| p.serial = Vec::new()),
    ("structure", |p| p.unique_ids = vec![5, 0]),
    ("version", |p| p.version = Vec::new()),
    ("version", |p| p.version = vec![0xa0, 3, 2, 1, 3]),
    ("der-default version", |p| {
        p.version = vec![0xa0, 3, 2, 1, 0]
    }),
    ("serial-positive", |p| {
        p.serial = tlv(tag::INTEGER, &[0x8a; 16]);
    }),
    ("serial-positive serial-short", |p| {
        p.serial = tlv(tag::INTEGER, &[0])
    }),
    ("serial-length", |p| {
        p.serial = tlv(tag::INTEGER, &[0x4a; 21])
    }),
    ("serial-short", |p| p.serial = tlv(tag::INTEGER, &[0x4a; 7])),
    ("algorithm-equal", |p| {
        p.outer_algorithm = Some(seq(&[oid(oid::ECDSA_SHA384)]));
    }),
    ("algorithm-weak", |p| {
        p.algorithm = seq(&[oid(SHA1_WITH_RSA), vec![5, 0]]);
    }),
    ("algorithm-weak", |p| {
        // sha1WithRSASignature of the OIW.
        p.algorithm = seq(&[oid(&[0x2b, 0x0e, 3, 2, 0x1d]), vec![5, 0]]);
    }),
    ("algorithm-unknown", |p| p.algorithm = seq(&[oid(PRIVATE)])),
    ("algorithm-ecdsa-parameters", |p| {
        p.algorithm = seq(&[oid(oid::ECDSA_SHA256), vec![5, 0]]);
    }),
    ("algorithm-eddsa-parameters", |p| {
        p.algorithm = seq(&[oid(oid::ED25519), vec![5, 0]]);
        p.signature = Some(tlv(tag::BIT_STRING, &[0; 65]));
    }),
    ("algorithm-ml-dsa-parameters", |p| {
        p.algorithm = seq(&[oid(oid::ML_DSA_44), vec![5, 0]]);
        p.signature = Some(tlv(tag::BIT_STRING, &[0; 2421]));
    }),
    ("algorithm-rsa-null", |p| {
        p.algorithm = seq(&[oid(SHA256_WITH_RSA)])
    }),
    ("algorithm-pss-parameters", |p| {
        p.algorithm = seq(&[oid(oid::RSA_PSS)])
    }),
    ("algorithm-pss-salt", |p| {
        p.algorithm = crate::pss::SIGNATURE_ALGORITHM.to_vec();
        *p.algorithm.last_mut().unwrap() = 31;
    }),
    ("signature-form", |p| {
        p.signature = Some(vec![tag::BIT_STRING, 1, 0])
    }),
    ("signature-ecdsa", |p| {
        p.signature = Some(vec![tag::BIT_STRING, 9, 0, 0x30, 6, 2, 1, 1, 2, 1, 0]);
    }),
    ("signature-ecdsa", |p| {
        p.signature = Some(vec![tag::BIT_STRING, 10, 0, 0x30, 7, 2, 2, 0, 1, 2, 1, 1]);
    }),
    ("signature-length", |p| {
        p.algorithm = seq(&[oid(oid::ED25519)]);
        p.signature = Some(tlv(tag::BIT_STRING, &[0; 64]));
    }),
    ("unique-ids", |p| p.unique_ids = vec![0x81, 2, 0, 1]),
    // Validity.
    ("time-form", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"3512312359Z")
    }),
    ("time-form", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"351231235959+0000")
    }),
    ("time-date", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"350229000000Z")
    }),
    ("time-utc-until-2049", |p| {
        p.not_after = tlv(tag::GENERALIZED_TIME, b"20491231235959Z");
    }),
    ("validity-order", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"251231235959Z")
    }),
    ("validity-indefinite", |p| {
        p.not_after = tlv(tag::GENERALIZED_TIME, b"99991231235959Z");
    }),
    // Names.
    ("name-structure", |p| {
        p.subject = seq(&[tlv(tag::SET, &seq(&[oid(CN)]))]);
    }),
    ("name-structure", |p| {
        p.subject = seq(&[seq(&[attribute(CN, tag::UTF8_STRING, b"a")])]);
    }),
    ("name-empty-rdn", |p| p.subject = seq(&[tlv(tag::SET, &[])])),
    ("name-rdn-type-twice", |p| {
        let texts: [&[u8]; 2] = [b"a", b"b"];
        p.subject = name(&texts.map(|text| attribute(CN, tag::UTF8_STRING, text)));
    }),
    ("name-string-type", |p| {
        p.subject = subject(C, tag::UTF8_STRING, b"DE")
    }),
    ("name-string-type", |p| {
        p.subject = subject(CN, tag::IA5_STRING, b"a")
    }),
    ("name-string-type", |p| {
        p.subject = subject(CN, tag::OCTET_STRING, b"a");
    }),
    ("name-string-old", |p| {
        p.subject = subject(CN, TELETEX_STRING, b"a")
    }),
    ("name-value-empty", |p| p.subject = common_name("")),
    ("name-value-long", |p| {
        p.subject = common_name(&"\u{e4}".repeat(65))
    }),
    ("name-value-unusual", |p| {
        p.subject = subject(&[0x55, 4, 0x2e], tag::PRINTABLE_STRING, &[b'a'; 65]);
    }),
    ("name-country", |p| {
        p.subject = subject(C, tag::PRINTABLE_STRING, b"de");
    }),
    ("name-country name-value-long", |p| {
        p.subject = subject(C, tag::PRINTABLE_STRING, b"DEU");
    }),
    ("name-control", |p| p.subject = common_name("a\0b")),
    ("name-control", |p| p.subject = common_name("a\u{9b}b")),
    ("name-space", |p| p.subject = common_name("a ")),
    ("name-matter-id", |p| {
        p.subject = subject(MATTER_VID, tag::UTF8_STRING, b"fff1");
    }),
    ("matter-issuer", |p| {
        p.issuer = subject(MATTER_VID, tag::UTF8_STRING, b"FFF1");
        p.subject = subject(MATTER_VID, tag::UTF8_STRING, b"FFF2");
    }),
    ("issuer-empty", |p| p.issuer = seq(&[])),
    ("subject-empty-san", |p| p.subject = seq(&[])),
    ("subject-empty-san", |p| {
        p.subject = seq(&[]);
        p.remove(oid::SUBJECT_ALT_NAME);
    }),
    // The public key.
    ("key-structure", |p| {
        p.spki = seq(&[seq(&[oid(oid::EC_PUBLIC_KEY)])])
    }),
    ("key-unknown", |p| p.set_key(spki(PRIVATE, &[], &[1]))),
    ("key-ec-named-curve", |p| {
        let explicit = seq(&[tlv(tag::INTEGER, &[1])]);
        p.set_key(spki(oid::EC_PUBLIC_KEY, &[explicit], &BASE_POINT));
    }),
    ("key-ec-named-curve", |p| {
        let curve = [oid(oid::SECP256R1), vec![5, 0]];
        p.set_key(spki(oid::EC_PUBLIC_KEY, &curve, &DOUBLE_POINT));
    }),
    ("key-ec-curve", |p| {
        p.set_key(spki(oid::EC_PUBLIC_KEY, &[oid(PRIVATE)], &[4, 1, 1]));
    }),
    ("key-ec-point", |p| p.set_key(ec_spki(&[0]))),
    ("key-ec-point", |p| p.set_key(ec_spki(&DOUBLE_POINT[..64]))),
    ("key-ec-compressed", |p| {
        p.set_key(ec_spki(&[&[3], &DOUBLE_POINT[1..33]].concat()));
    }),
    ("key-ec-off-curve", |p| {
        let mut point = DOUBLE_POINT;
        point[64] ^= 1;
        p.set_key(ec_spki(&point));
    }),
    ("key-rsa-null", |p| {
        let key = seq(&[tlv(2, &sound_modulus()), tlv(2, &[1, 0, 1])]);
        p.set_key(spki(oid::RSA_ENCRYPTION, &[], &key));
    }),
    ("key-rsa-form", |p| {
        p.set_key(rsa(|modulus, _| *modulus = vec![0x80; 256]))
    }),
    ("key-rsa-bits", |p| {
        p.set_key(rsa(|modulus, _| *modulus = vec![0x7f; 255]))
    }),
    ("key-rsa-even", |p| {
        p.set_key(rsa(|modulus, _| modulus[256] = 0x7e))
    }),
    ("key-rsa-weak", |p| {
        p.set_key(rsa(|modulus, _| modulus[256] = 0x03))
    }),
    ("key-rsa-exponent", |p| {
        p.set_key(rsa(|_, exponent| *exponent = vec![1]));
    }),
    ("key-rsa-exponent", |p| {
        p.set_key(rsa(|_, exponent| *exponent = vec![1, 0, 0]));
    }),
    ("key-rsa-exponent-65537", |p| {
        p.set_key(rsa(|_, exponent| *exponent = vec![3]));
    }),
    ("key-rsa-pss-parameters", |p| {
        let key = seq(&[tlv(2, &sound_modulus()), tlv(2, &[1, 0, 1])]);
        p.set_key(spki(oid::RSA_PSS, &[vec![5, 0]], &key));
    }),
    ("key-rfc8410-parameters", |p| {
        p.set_key(spki(oid::ED25519, &[vec![5, 0]], &[7; 32]));
    }),
    ("key-rfc8410-length", |p| {
        p.set_key(spki(oid::ED25519, &[], &[7; 33]))
    }),
    ("key-ed25519-small-order", |p| {
        p.set_key(spki(oid::ED25519, &[], &[0; 32]));
    }),
    ("key-ed25519-small-order", |p| {
        let mut prime = [0xff; 32];
        prime[0] = 0xed;
        p.set_key(spki(oid::ED25519, &[], &prime));
    }),
    ("key-ml-dsa-parameters", |p| {
        p.set_key(spki(oid::ML_DSA_44, &[vec![5, 0]], &[7; 1312]));
    }),
    ("key-ml-dsa-length", |p| {
        p.set_key(spki(oid::ML_DSA_65, &[], &[7; 1312]));
    }),
    // Extensions as such.
    ("extension-twice", |p| {
        private(p, vec![5, 0]);
        private(p, vec![5, 0]);
    }),
    ("extension-unknown-critical", |p| {
        p.add(PRIVATE, true, vec![5, 0])
    }),
    ("extension-value", |p| private(p, b"text".to_vec())),
    ("extension-malformed", |p| {
        p.set(oid::KEY_USAGE, vec![tag::INTEGER, 1, 1]);
    }),
    ("extension-malformed", |p| {
        p.set(oid::EXT_KEY_USAGE, seq(&[vec![tag::INTEGER, 1, 1]]));
    }),
    ("extension-malformed", |p| {
        p.set(oid::EXT_KEY_USAGE, Vec::new())
    }),
    ("critical-wrongly", |p| {
        p.set_critical(oid::AUTHORITY_KEY_IDENTIFIER, true);
    }),
    ("critical-wrongly", |p| {
        p.set_critical(AUTHORITY_INFO_ACCESS, true)
    }),
    ("critical-advice", |p| p.set_critical(oid::KEY_USAGE, false)),
    ("critical-advice", |p| {
        p.set_critical(oid::SUBJECT_ALT_NAME, true)
    }),
    ("critical-advice", |p| p.set_critical(CRL_POINTS, true)),
    // Single extensions.
    ("aki-missing", |p| p.remove(oid::AUTHORITY_KEY_IDENTIFIER)),
    ("aki-key-identifier", |p| {
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, seq(&[]));
    }),
    ("aki-pair", |p| {
        let identifier = tlv(0x80, &key_identifier(&BASE_POINT));
        let serial = tlv(0x82, &[1]);
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, seq(&[identifier, serial]));
    }),
    ("ski-missing", |p| p.remove(oid::SUBJECT_KEY_IDENTIFIER)),
    ("ski-derived ski-empty", |p| {
        p.set(oid::SUBJECT_KEY_IDENTIFIER, tlv(tag::OCTET_STRING, &[]));
    }),
    ("ski-derived", |p| {
        p.set(
            oid::SUBJECT_KEY_IDENTIFIER,
            tlv(tag::OCTET_STRING, &[7; 20]),
        );
    }),
    ("key-usage-empty", |p| {
        p.set(oid::KEY_USAGE, key_usage(0, &[]))
    }),
    ("key-usage-empty", |p| {
        p.set(oid::KEY_USAGE, key_usage(7, &[0]))
    }),
    ("key-usage-trailing-zeros", |p| {
        p.set(oid::KEY_USAGE, key_usage(0, &[0x80]));
    }),
    ("key-usage-trailing-zeros", |p| {
        p.set(oid::KEY_USAGE, key_usage(0, &[0x80, 0]));
    }),
    ("key-usage-unknown", |p| {
        p.set(oid::KEY_USAGE, key_usage(6, &[0x80, 0x40]));
    }),
    ("key-usage-ec", |p| {
        p.set(oid::KEY_USAGE, key_usage(5, &[0xa0]))
    }),
    ("key-usage-eddsa", |p| {
        p.set_key(spki(oid::ED25519, &[], &[7; 32]));
        p.set(oid::KEY_USAGE, key_usage(3, &[0x88]));
    }),
    ("key-usage-x25519", |p| {
        p.set_key(spki(X25519, &[], &[7; 32]))
    }),
    ("key-usage-ml-dsa", |p| {
        p.set_key(spki(oid::ML_DSA_44, &[], &[7; 1312]));
        p.set(oid::KEY_USAGE, key_usage(5, &[0xa0]));
    }),
    ("key-usage-rsa", |p| {
        p.set_key(rsa(|_, _| {}));
        p.set(oid::KEY_USAGE, key_usage(3, &[0x88]));
    }),
    ("key-usage-rsa-pss", |p| {
        let key = seq(&[tlv(2, &sound_modulus()), tlv(2, &[1, 0, 1])]);
        p.set_key(spki(oid::RSA_PSS, &[], &key));
        p.set(oid::KEY_USAGE, key_usage(5, &[0xa0]));
    }),
    ("key-usage-only", |p| {
        p.set(oid::KEY_USAGE, key_usage(0, &[0x81]))
    }),
    ("key-usage-cert-sign", |p| {
        p.set(oid::KEY_USAGE, key_usage(2, &[0x84]))
    }),
    ("basic-constraints-path-length", |p| {
        p.set(oid::BASIC_CONSTRAINTS, seq(&[vec![tag::INTEGER, 1, 0]]));
    }),
    ("eku-empty", |p| p.set(oid::EXT_KEY_USAGE, seq(&[]))),
    ("eku-twice", |p| {
        p.set(
            oid::EXT_KEY_USAGE,
            seq(&[oid(CLIENT_AUTH), oid(CLIENT_AUTH)]),
        );
    }),
    ("eku-any", |p| {
        let any = oid(&[0x55, 0x1d, 0x25, 0]);
        p.set(oid::EXT_KEY_USAGE, seq(&[oid(CLIENT_AUTH), any]));
    }),
    ("eku-key-usage", |p| {
        p.set(oid::KEY_USAGE, key_usage(6, &[0x40]))
    }),
    ("san-empty", |p| p.set(oid::SUBJECT_ALT_NAME, seq(&[]))),
    ("san-twice", |p| {
        let dns = tlv(0x82, b"a.example.com");
        p.set(oid::SUBJECT_ALT_NAME, seq(&[dns.clone(), dns]));
    }),
    ("policies-empty", |p| p.set(POLICIES, seq(&[]))),
    ("policies-twice", |p| {
        let policy = seq(&[oid(PRIVATE)]);
        p.set(POLICIES, seq(&[policy.clone(), policy]));
    }),
    ("policies-qualifier", |p| {
        policies(p, seq(&[oid(PRIVATE), vec![5, 0]]))
    }),
    ("policies-text", |p| {
        let text = tlv(tag::UTF8_STRING, &[b'a'; 201]);
        policies(p, seq(&[oid(USER_NOTICE), seq(&[text])]));
    }),
    ("general-name-uri", |p| {
        policies(p, seq(&[oid(CPS), tlv(tag::IA5_STRING, b"no uri")]));
    }),
    ("crl-points-empty", |p| p.set(CRL_POINTS, seq(&[]))),
    ("crl-point", |p| {
        p.set(CRL_POINTS, seq(&[seq(&[vec![0x81, 2, 1, 6]])]))
    }),
    ("access-empty", |p| p.set(AUTHORITY_INFO_ACCESS, seq(&[]))),
    ("ca-only", |p| {
        p.add(INHIBIT_ANY_POLICY, true, vec![2, 1, 0])
    }),
    // General names.
    ("general-name-form", |p| san(p, 0x89, b"a")),
    ("general-name-form", |p| san(p, 0xa0, &oid(PRIVATE))),
    ("general-name-form", |p| san(p, 0x88, &[0x80])),
    ("general-name-ia5", |p| san(p, 0x82, b"a\0.example.com")),
    ("general-name-ia5", |p| san(p, 0x82, b"")),
    ("general-name-ia5", |p| {
        san(p, 0x86, b"http://b\xfccher.example")
    }),
    ("general-name-dns", |p| san(p, 0x82, b"a..example.com")),
    ("general-name-dns", |p| san(p, 0x82, b"a_b.example.com")),
    ("general-name-dns", |p| san(p, 0x82, b"a.*.example.com")),
    ("general-name-dns", |p| san(p, 0x82, b" ")),
    ("general-name-uri", |p| san(p, 0x86, b"//example.com/a")),
    ("general-name-uri", |p| san(p, 0x86, b"http://")),
    ("general-name-uri", |p| {
        san(p, 0x86, b"http://example.com/a b")
    }),
    ("general-name-uri", |p| {
        san(p, 0x86, b"http://example.com/%4")
    }),
    ("general-name-email", |p| san(p, 0x81, b"example.com")),
    ("general-name-email", |p| san(p, 0x81, b"a b@example.com")),
    ("general-name-email", |p| {
        san(p, 0x81, b"\"a\"b\"@example.com")
    }),
    ("general-name-email-quoted", |p| {
        san(p, 0x81, b"\"a b\\\"\"@example.com")
    }),
    ("general-name-uri", |p| san(p, 0x86, b"http:///ca.crl")),
    ("general-name-ip", |p| san(p, 0x87, &[1; 5])),
    ("general-name-directory", |p| san(p, 0xa4, &[0x30, 0])),
    ("general-name-hardware", |p| {
        let module = seq(&[oid(PRIVATE), tlv(tag::OCTET_STRING, b"")]);
        let other_name = [oid(oid::HARDWARE_MODULE_NAME), tlv(0xa0, &module)];
        san(p, 0xa0, &other_name.concat());
    }),
];

pub(super) const CA: &[Fault] = &[
    ("subject-empty-ca", |p| p.subject = seq(&[])),
    ("ski-missing-ca", |p| p.remove(oid::SUBJECT_KEY_IDENTIFIER)),
    ("key-usage-missing-ca", |p| p.remove(oid::KEY_USAGE)),
    ("basic-constraints-path-length key-usage-ca", |p| {
        p.set(oid::KEY_USAGE, key_usage(1, &[0x02]));
    }),
    ("basic-constraints-path-negative", |p| {
        let ca = vec![tag::BOOLEAN, 1, 0xff];
        p.set(
            oid::BASIC_CONSTRAINTS,
            seq(&[ca, vec![tag::INTEGER, 1, 0xff]]),
        );
    }),
    ("critical-missing", |p| {
        p.set_critical(oid::BASIC_CONSTRAINTS, false)
    }),
    ("critical-missing", |p| {
        p.set_critical(NAME_CONSTRAINTS, false)
    }),
    ("name-constraints-empty", |p| {
        p.set(NAME_CONSTRAINTS, seq(&[]))
    }),
    ("name-constraints-base", |p| {
        let subtree = seq(&[tlv(0x82, b"example.com"), vec![0x80, 1, 0]]);
        p.set(NAME_CONSTRAINTS, seq(&[tlv(0xa0, &subtree)]));
    }),
    ("general-name-ip", |p| {
        let subtree = seq(&[tlv(0x87, &[10, 0, 0, 0])]);
        p.set(NAME_CONSTRAINTS, seq(&[tlv(0xa1, &subtree)]));
    }),
    ("policy-constraints-empty", |p| {
        p.set(POLICY_CONSTRAINTS, seq(&[]))
    }),
    ("policy-mapping-any", |p| {
        let mapping = seq(&[oid(PRIVATE), oid(ANY_POLICY)]);
        p.set(POLICY_MAPPINGS, seq(&[mapping]));
    }),
];

/// Against an issuer whose certificate is known.
pub(super) const ISSUED: &[Fault] = &[
    ("issuer-name", |p| {
        p.issuer = common_name("Example  Root CA")
    }),
    ("issuer-not-before", |p| {
        p.not_before = tlv(tag::UTC_TIME, b"251231235959Z")
    }),
    ("issuer-not-after", |p| {
        p.not_after = tlv(tag::UTC_TIME, b"360101000000Z")
    }),
    ("issuer-key-identifier", |p| {
        let identifier = tlv(0x80, &key_identifier(&DOUBLE_POINT));
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, seq(&[identifier]));
    }),
    ("issuer-key-certified", |p| p.set_key(ec_spki(&BASE_POINT))),
    ("issuer-signature", |p| {
        let other = Parts::ca().der();
        let signature = super::super::der::single(&other, tag::SEQUENCE).unwrap();
        p.signature = signature
            .values()
            .nth(2)
            .map(|value| value.encoding.to_vec());
    }),
    ("issuer-algorithm", |p| {
        p.algorithm = seq(&[oid(SHA256_WITH_RSA), vec![5, 0]]);
    }),
    ("issuer-unverified", |p| {
        // ecdsa-with-SHA224.
        p.algorithm = seq(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1])]);
    }),
    ("algorithm-unknown issuer-unverified", |p| {
        p.algorithm = seq(&[oid(PRIVATE)]);
    }),
];

/// Rules with a test of their own.
pub(super) const OTHERS: &[&str] = &[
    "der-truncated",
    "der-length-indefinite",
    "extensions-empty",
    "issuer-ca",
    "limit-depth",
    "limit-size",
    "limit-values",
    "profile-basic-constraints",
    "profile-constant",
    "profile-critical",
    "profile-eku",
    "profile-extension",
    "profile-extension-missing",
    "profile-indefinite",
    "profile-key",
    "profile-key-usage",
    "profile-size",
    "profile-string-type",
    "profile-subject",
    "profile-subject-attributes",
    "purpose-ca",
    "purpose-end-entity",
    "request-key",
    "request-serial",
];
