//! Encoding, fields, times, names and key.

use super::*;

pub(in super::super) const FIELDS: &[Fault] = &[
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
];
