//! Every reason to refuse a request before a profile looks at it, and that nothing else is refused.

mod batches;
mod drafts;

use super::*;
use crate::verification::Verification;
use crate::weak_key::rsa_keys;

pub(crate) use drafts::{Draft, RsaKey, der, sequence};

/// Parses and verifies.
fn verified(csr: &[u8]) -> Result<(), Rejection> {
    let parsed = CertificateSigningRequestDer::new(csr).and_then(CertificationRequest::parse);
    verify_batch(&Verifier::scalar(), vec![parsed])
        .remove(0)
        .map(drop)
}

#[track_caller]
fn refused(csr: &[u8]) -> (u16, String) {
    let rejection = verified(csr).unwrap_err();
    (rejection.number(), rejection.to_string())
}

/// A change of a sound draft, the number it is refused under, and a part of the reason's text.
type Case = (&'static str, fn(&mut Draft), u16, &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    for (name, change, number, part) in cases {
        let mut draft = Draft::p256();
        assert_eq!(verified(&draft.signed()), Ok(()));
        change(&mut draft);
        let (found, text) = refused(&draft.signed());
        assert_eq!(found, *number, "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
    }
}

#[test]
fn size_is_judged_first() {
    assert_eq!(refused(&[]).0, 100);
    // Nothing of it is looked at.
    assert_eq!(refused(&vec![0xff; CSR_BYTES_MAX + 1]).0, 101);
    assert_eq!(refused(&vec![0xff; CSR_BYTES_MAX]).0, 102);
}

#[test]
fn form() {
    const CHALLENGE: fn(&[&[u8]]) -> Vec<u8> = |values| {
        let values: Vec<_> = values.iter().map(|v| der(tag::UTF8_STRING, v)).collect();
        drafts::attribute(oid::CHALLENGE_PASSWORD, &values)
    };
    check(&[
        ("version 2", |d| d.version = vec![1], 102, "other than v1"),
        (
            "version 0 in two octets",
            |d| d.version = vec![0, 0],
            102,
            "not minimal",
        ),
        (
            "no attributes field",
            |d| d.attributes_field = false,
            102,
            "no attributes field",
        ),
        (
            "a field behind them",
            |d| d.behind = vec![5, 0],
            102,
            "octets after the end",
        ),
        (
            "octets behind the request",
            |d| d.trailing = vec![5, 0],
            102,
            "octets after",
        ),
        (
            "a signature that is not of octets",
            |d| d.unused_bits = 1,
            102,
            "bit string",
        ),
        (
            "a NUL in a PrintableString",
            |d| d.subject = drafts::name(tag::PRINTABLE_STRING, b"SN\0"),
            102,
            "PrintableString",
        ),
        (
            "an attribute twice",
            |d| d.attributes = vec![CHALLENGE(&[b"a"]), CHALLENGE(&[b"b"])],
            103,
            "more than once",
        ),
        (
            "two passwords in one",
            |d| d.attributes = vec![CHALLENGE(&[b"a", b"b"])],
            103,
            "exactly one value",
        ),
        (
            "no value",
            |d| d.attributes = vec![CHALLENGE(&[])],
            103,
            "exactly one value",
        ),
    ]);
}

#[test]
fn limits() {
    fn many(count: usize, make: fn(u8) -> Vec<u8>) -> Vec<Vec<u8>> {
        (0..count)
            .map(|number| make(u8::try_from(number).unwrap()))
            .collect()
    }
    const ATTRIBUTE: fn(u8) -> Vec<u8> = |n| drafts::attribute(&[0x2a, n], &[vec![5, 0]]);
    const PART: fn(u8) -> Vec<u8> = |n| drafts::part(&[0x55, 0x04, n], tag::UTF8_STRING, b"x");
    const EXTENSION: fn(u8) -> Vec<u8> =
        |n| sequence(&[der(tag::OID, &[0x2a, n]), der(tag::OCTET_STRING, &[5, 0])]);
    fn extensions(count: usize) -> Vec<Vec<u8>> {
        let asked = sequence(&many(count, EXTENSION));
        vec![drafts::attribute(oid::EXTENSION_REQUEST, &[asked])]
    }
    fn deep(levels: usize) -> Vec<Vec<u8>> {
        let inner = (0..levels).fold(vec![5, 0], |inner, _| der(tag::SEQUENCE, &inner));
        vec![drafts::attribute(&[0x2a, 1], &[inner])]
    }
    // The most that is taken, so that the limits are where they should be.
    let most: [fn(&mut Draft); 4] = [
        |d| d.attributes = many(32, ATTRIBUTE),
        |d| d.subject = sequence(&many(32, PART)),
        |d| d.attributes = extensions(32),
        |d| d.attributes = deep(11),
    ];
    for (number, change) in most.into_iter().enumerate() {
        let mut draft = Draft::p256();
        change(&mut draft);
        assert_eq!(verified(&draft.signed()), Ok(()), "{number}");
    }
    check(&[
        (
            "33 attributes",
            |d| d.attributes = many(33, ATTRIBUTE),
            104,
            "over 32 attributes",
        ),
        (
            "33 parts",
            |d| d.subject = sequence(&many(33, PART)),
            104,
            "attributes in a name",
        ),
        (
            "33 extensions",
            |d| d.attributes = extensions(33),
            104,
            "over 32 requested",
        ),
        ("too deep", |d| d.attributes = deep(12), 104, "over 16 deep"),
        (
            "1100 values",
            |d| d.attributes = vec![drafts::attribute(&[0x2a, 1], &vec![vec![5, 0]; 1100])],
            104,
            "over 1024 values",
        ),
        (
            "a long identifier",
            |d| d.attributes = vec![drafts::attribute(&[1; 65], &[vec![5, 0]])],
            102,
            "object identifier",
        ),
    ]);
}

#[test]
fn signature_algorithms() {
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    check(&[
        (
            "of RSA",
            |d| d.algorithm = sequence(&[der(tag::OID, oid::RSA_SHA256), vec![5, 0]]),
            200,
            "not accepted",
        ),
        (
            "NULL parameters",
            |d| d.algorithm = sequence(&[der(tag::OID, oid::ECDSA_SHA256), vec![5, 0]]),
            200,
            "not accepted",
        ),
        // The same key verifies SHA-384 signatures; this one is not.
        (
            "another hash",
            |d| d.algorithm = sequence(&[der(tag::OID, oid::ECDSA_SHA384)]),
            201,
            "does not verify",
        ),
    ]);
    let broken: [(&[u8], &str); 7] = [
        (&[&RSA[..], &[2]].concat(), "MD2"),
        (&[&RSA[..], &[3]].concat(), "MD4"),
        (&[&RSA[..], &[4]].concat(), "MD5"),
        (&[&RSA[..], &[5]].concat(), "SHA-1"),
        (&[0x2b, 0x0e, 0x03, 0x02, 0x03], "MD5"),
        (&[0x2b, 0x0e, 0x03, 0x02, 0x1d], "SHA-1"),
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01], "SHA-1"),
    ];
    for (oid, hash) in broken {
        for parameters in [vec![], vec![5, 0]] {
            let mut draft = Draft::p256();
            draft.algorithm = sequence(&[der(tag::OID, oid), parameters]);
            let expected = Err(Rejection::SignatureHash(hash));
            assert_eq!(verified(&draft.signed()), expected);
        }
    }
}

#[test]
fn ec_keys() {
    const P256: &[u8] = oid::SECP256R1;
    check(&[
        (
            "explicit parameters",
            |d| d.key = drafts::ec_key_with(&sequence(&[vec![2, 1, 1]]), &d.point),
            300,
            "named, not described",
        ),
        (
            "implicit parameters",
            |d| d.key = drafts::ec_key_with(&[5, 0], &d.point),
            300,
            "named",
        ),
        (
            "secp256k1",
            |d| d.key = drafts::ec_key(&[0x2b, 0x81, 0x04, 0x00, 0x0a], &d.point),
            300,
            "P-256, P-384 or P-521",
        ),
        (
            "compressed",
            |d| d.key = drafts::ec_key(P256, &[&[2], &d.point[1..33]].concat()),
            300,
            "send it uncompressed",
        ),
        (
            "hybrid",
            |d| d.key = drafts::ec_key(P256, &[&[6], &d.point[1..]].concat()),
            300,
            "not an uncompressed point",
        ),
    ]);
}

#[test]
fn ec_points() {
    const P256: &[u8] = oid::SECP256R1;
    check(&[
        (
            "infinity",
            |d| d.key = drafts::ec_key(P256, &[0]),
            304,
            "at infinity",
        ),
        (
            "zero",
            |d| d.key = drafts::ec_key(P256, &[&[4][..], &[0; 64]].concat()),
            304,
            "not on its curve",
        ),
        (
            "off the curve",
            |d| {
                let mut point = d.point.clone();
                point[64] ^= 1;
                d.key = drafts::ec_key(P256, &point);
            },
            304,
            "not on its curve",
        ),
        // Coordinates above the field's prime are another spelling of a point.
        (
            "beyond the prime",
            |d| d.key = drafts::ec_key(P256, &[&[4][..], &[0xff; 64]].concat()),
            304,
            "not on its curve",
        ),
        (
            "P-384's point off its curve",
            |d| d.key = drafts::ec_key(oid::SECP384R1, &[&[4][..], &[1; 96]].concat()),
            304,
            "not on its curve",
        ),
        // A point of the curve, but another's.
        (
            "another key",
            |d| d.key = drafts::ec_key(P256, &Draft::p256().point),
            201,
            "does not verify",
        ),
    ]);
}

/// Requests that are signed as they should be, by keys that are worth nothing.
#[test]
fn weak_rsa_keys() {
    let sound = RsaKey::from_primes(&rsa_keys::sound());
    assert_eq!(verified(&sound.request()), Ok(()));
    let table = [
        (rsa_keys::small_factor(), 305, "divided by 751"),
        (rsa_keys::close(), 306, "so close"),
        (rsa_keys::roca(), 307, "CVE-2017-15361"),
    ];
    for (primes, number, part) in table {
        let (found, text) = refused(&RsaKey::from_primes(&primes).request());
        assert_eq!(found, number, "{text}");
        assert!(text.contains(part), "{text}");
    }
    // Without the key nobody makes the engine look for the weakness.
    let mut forged = RsaKey::from_primes(&rsa_keys::roca()).request();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(refused(&forged).0, 201);
}

#[test]
fn rsa_policy() {
    let modulus = vec![0xc1; 256];
    let cases: [(Vec<u8>, &[u8], &str); 6] = [
        (vec![0xc1; 255], &[1, 0, 1], "under 2048 or over 4096"),
        (vec![0xc1; 513], &[1, 0, 1], "under 2048 or over 4096"),
        ([&modulus[..255], &[2]].concat(), &[1, 0, 1], "even"),
        (modulus.clone(), &[3], "not 65537"),
        (modulus.clone(), &[1, 0, 2], "the exponent is even"),
        (modulus.clone(), &[0x7f; 256], "not 65537"),
    ];
    for (modulus, exponent, part) in cases {
        let mut draft = Draft::p256();
        draft.key = drafts::rsa_key(&modulus, exponent);
        draft.algorithm = sequence(&[der(tag::OID, oid::RSA_SHA256), vec![5, 0]]);
        let (number, text) = refused(&draft.signed());
        assert_eq!(number, 302, "{text}");
        assert!(text.contains(part), "{text}");
    }
}
