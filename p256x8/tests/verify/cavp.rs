//! NIST's CAVP vectors of ECDSA verification (FIPS 186-3 SigVer), P-256. pyca's test vectors, which `tests/oracles/install.sh`
//! brings, have the file. It is named to the test, which is ignored otherwise:
//!
//! ```text
//! CAVP_SIGVER=$(find $PWD/target/oracles -path '*/ECDSA/FIPS_186-3/SigVer.rsp' -print -quit) \
//!     cargo test --package p256x8 --test verify -- --ignored cavp
//! ```

use std::fs;

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};

use super::paths::PATHS;
use super::sample::Sample;

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

/// The samples of the file with their verdicts.
fn read(file: &str) -> Vec<(Sample, bool)> {
    let (mut hash, mut numbers, mut message) = (None, Vec::new(), Vec::new());
    let mut samples = Vec::new();
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
            let mut sample = Sample {
                key: numbers[..65].try_into().unwrap(),
                digest: [0; 32],
                signature: numbers[65..].try_into().unwrap(),
            };
            // A short digest is the number that it is; of a long one the first 32 octets count.
            let hashed = digest(hash, &message);
            let hashed = &hashed.as_ref()[..hashed.as_ref().len().min(32)];
            sample.digest[32 - hashed.len()..].copy_from_slice(hashed);
            samples.push((sample, result.starts_with('P')));
        }
    }
    samples
}

#[test]
#[ignore = "wants the path of CAVP's SigVer.rsp in CAVP_SIGVER"]
fn cavp() {
    let path = std::env::var_os("CAVP_SIGVER").unwrap();
    let file = fs::read_to_string(path).unwrap();
    let (samples, expected): (Vec<_>, Vec<bool>) = read(&file).into_iter().unzip();
    assert_eq!(samples.len(), 60);
    assert!(expected.contains(&true) && expected.contains(&false));
    assert_eq!(PATHS.verdicts(&samples), expected);
}
