//! Extensions, each and as such, and general names.

use super::*;

pub(in super::super) const EXTENSIONS: &[Fault] = &[
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
