//! NIST's CAVP vectors of ECDSA verification (FIPS 186-3 SigVer), P-256, of pyca's test vectors: verified on lanes, on the
//! lanes in plain Rust and by aws-lc-rs.

use std::fs;

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};
use birthmark_tests::oracle::Oracles;
use p256x8::{Digest, LaneVerifier, PublicKey, Signature, Verifier};

use crate::report;

type Item = (PublicKey, Digest, Signature);

/// Each line is `NAME = VALUE`.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?
        .trim_start()
        .strip_prefix('=')
        .map(str::trim)
}

/// Octets of hexadecimal digits; numbers are made `size` octets long.
fn octets(digits: &str, size: usize) -> Vec<u8> {
    let padded = format!("{digits:0>width$}", width = 2 * size);
    let octet = |i| u8::from_str_radix(&padded[2 * i..2 * i + 2], 16).unwrap();
    (0..padded.len() / 2).map(octet).collect()
}

fn algorithm(section: &str) -> Option<&'static Algorithm> {
    match section {
        "[P-256,SHA-224]" => Some(&SHA224),
        "[P-256,SHA-256]" => Some(&SHA256),
        "[P-256,SHA-384]" => Some(&SHA384),
        "[P-256,SHA-512]" => Some(&SHA512),
        _ => None,
    }
}

/// The signatures of the file with their verdicts.
fn read(file: &str) -> Vec<(Item, bool)> {
    let (mut hash, mut numbers, mut message) = (None, Vec::new(), Vec::new());
    let mut items = Vec::new();
    for line in file.lines().map(str::trim) {
        if line.starts_with('[') {
            hash = algorithm(line);
        } else if let Some(digits) = value(line, "Msg") {
            message = octets(digits, 0);
            numbers = vec![4];
        } else if let Some(digits) = ["Qx", "Qy", "R", "S"]
            .iter()
            .find_map(|name| value(line, name))
        {
            numbers.extend(octets(digits, 32));
        } else if let Some((result, hash)) = value(line, "Result").zip(hash) {
            // A short digest is the number that it is; of a long one the first 32 octets count.
            let hashed = digest(hash, &message);
            let hashed = &hashed.as_ref()[..hashed.as_ref().len().min(32)];
            let mut number = [0; 32];
            number[32 - hashed.len()..].copy_from_slice(hashed);
            let key = PublicKey::from_sec1(&numbers[..65]).unwrap();
            let signature = Signature::from_fixed(numbers[65..].try_into().unwrap());
            items.push(((key, Digest(number), signature), result.starts_with('P')));
        }
    }
    items
}

#[test]
fn nist_and_the_lanes_agree() {
    let path = "asymmetric/ECDSA/FIPS_186-3/SigVer.rsp";
    let file = fs::read_to_string(Oracles::get().vectors().join(path)).unwrap();
    let (items, expected): (Vec<_>, Vec<bool>) = read(&file).into_iter().unzip();
    assert_eq!(items.len(), 60);
    assert!(expected.contains(&true) && expected.contains(&false));
    for verifier in [Verifier::new(), Verifier::scalar()] {
        assert_eq!(verifier.verify_batch(&items).as_slice(), expected);
        assert_eq!(verifier.counts().disagreements, 0);
    }
    let mut verdicts = vec![false; items.len()];
    LaneVerifier::portable().verify(&items, &mut verdicts);
    assert_eq!(verdicts, expected);
    report(format_args!("{} of NIST's P-256 signatures", items.len()));
}
