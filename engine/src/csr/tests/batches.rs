//! Requests that are verified together: each has its own result, the same on lanes and one by one.

use std::sync::OnceLock;

use super::*;

/// What becomes of requests that come together: on lanes, if the processor has them, and one by one.
pub(super) fn on_both_paths(csrs: &[&[u8]]) -> [Vec<Result<(), Rejection>>; 2] {
    static FAST: OnceLock<Verifier> = OnceLock::new();
    let fast = FAST.get_or_init(|| Verification::Auto.verifier());
    [fast, &Verification::Scalar.verifier()].map(|verifier| {
        let parse = |csr| CertificateSigningRequestDer::new(csr);
        let parsed = csrs
            .iter()
            .map(|csr| parse(*csr).and_then(CertificationRequest::parse));
        let verified = verify_batch(verifier, parsed.collect());
        verified.into_iter().map(|it| it.map(drop)).collect()
    })
}

/// A draft with a change.
fn changed(change: impl FnOnce(&mut Draft)) -> Vec<u8> {
    let mut draft = Draft::p256();
    change(&mut draft);
    draft.signed()
}

/// A sound request with other octets for its ECDSA-Sig-Value.
fn with_signature(change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let csr = Draft::p256().signed();
    let parts = Parts::read(&csr).unwrap();
    let signature = change(whole_octets(&parts.signature).unwrap());
    let octets = [&[0][..], &signature].concat();
    let parts = [
        parts.info.to_vec(),
        parts.signature_algorithm.encoding.to_vec(),
        der(tag::BIT_STRING, &octets),
    ];
    sequence(&parts)
}

/// What a batch may have among sound P-256 requests, and the number it is refused under.
fn exceptions() -> Vec<(&'static str, Vec<u8>, Option<u16>)> {
    let integers = |r: &[u8], s: &[u8]| sequence(&[der(tag::INTEGER, r), der(tag::INTEGER, s)]);
    vec![
        (
            "another digest",
            with_signature(|octets| {
                let mut other = octets.to_vec();
                *other.last_mut().unwrap() ^= 1;
                other
            }),
            Some(201),
        ),
        ("zeros", with_signature(|_| integers(&[0], &[0])), Some(201)),
        (
            "a negative number",
            with_signature(|_| integers(&[0x80], &[1])),
            Some(201),
        ),
        (
            "no DER",
            with_signature(|octets| octets[1..].to_vec()),
            Some(201),
        ),
        (
            "a point off the curve",
            changed(|d| {
                let mut point = d.point.clone();
                point[64] ^= 1;
                d.key = drafts::ec_key(oid::SECP256R1, &point);
            }),
            Some(304),
        ),
        (
            "a point beyond the prime",
            changed(|d| d.key = drafts::ec_key(oid::SECP256R1, &[&[4][..], &[0xff; 64]].concat())),
            Some(304),
        ),
        (
            "another hash",
            changed(|d| d.algorithm = sequence(&[der(tag::OID, oid::ECDSA_SHA384)])),
            Some(201),
        ),
        ("no request", vec![5, 0], Some(102)),
        (
            "another algorithm",
            RsaKey::from_primes(&rsa_keys::sound()).request(),
            None,
        ),
    ]
}

#[test]
fn one_bad_request_spoils_only_itself_wherever_it_stands() {
    // Two groups of lanes, and one more.
    let sound: Vec<Vec<u8>> = (0..17).map(|_| Draft::p256().signed()).collect();
    for (name, exception, number) in exceptions() {
        for place in 0..sound.len() {
            let mut csrs: Vec<&[u8]> = sound.iter().map(Vec::as_slice).collect();
            csrs[place] = &exception;
            for results in on_both_paths(&csrs) {
                for (at, result) in results.into_iter().enumerate() {
                    let refused = result.map_err(|rejection| rejection.number()).err();
                    let expected = number.filter(|_| at == place);
                    assert_eq!(refused, expected, "{name} at {place}: {at}");
                }
            }
        }
    }
}

#[test]
fn a_batch_of_exceptions_and_more_than_a_chunk() {
    let exceptions = exceptions();
    let rows: Vec<_> = exceptions.iter().cycle().take(BATCH_MAX + 9).collect();
    let csrs: Vec<&[u8]> = rows.iter().map(|(_, csr, _)| csr.as_slice()).collect();
    for results in on_both_paths(&csrs) {
        assert_eq!(results.len(), csrs.len());
        for (result, (name, _, number)) in results.into_iter().zip(&rows) {
            let refused = result.map_err(|rejection| rejection.number()).err();
            assert_eq!(refused, *number, "{name}");
        }
    }
}
