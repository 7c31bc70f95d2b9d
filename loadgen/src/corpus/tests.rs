//! Corpus files: whole ones, damaged ones, and the requests in them read by other software.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode};
use x509_cert::request::CertReq;

use super::*;
use crate::limit::Sample;

const SEED: u64 = 0x00c0_ffee;

fn make(folder: &TempDir, algorithm: KeyAlgorithm, count: u64) -> Corpus {
    let path = folder.path().join(format!("{algorithm}.corpus"));
    Corpus::make(&path, count, algorithm, SEED, &mut |_| {}).unwrap()
}

fn damaged(bytes: &[u8]) -> CorpusError {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Corpus::open(file.path()).expect_err("this file is no whole corpus")
}

/// RSA-4096 keys take many seconds on a slow machine; RSA-2048 and 3072 show the same code.
const TESTED: [(KeyAlgorithm, u64); 9] = [
    (KeyAlgorithm::EcP256, 300),
    (KeyAlgorithm::EcP384, 40),
    (KeyAlgorithm::EcP521, 20),
    (KeyAlgorithm::Ed25519, 40),
    (KeyAlgorithm::MlDsa44, 5),
    (KeyAlgorithm::MlDsa65, 5),
    (KeyAlgorithm::MlDsa87, 5),
    (KeyAlgorithm::Rsa2048, 3),
    (KeyAlgorithm::Rsa3072, 1),
];

#[test]
fn requests_are_what_x509_cert_reads_and_aws_lc_verifies() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, count) in TESTED {
        let corpus = make(&folder, algorithm, count);
        assert_eq!((corpus.len(), corpus.iter().count() as u64), (count, count));
        assert_eq!(
            (corpus.algorithm(), corpus.seed(), corpus.generation()),
            (algorithm, SEED, 0)
        );
        assert_eq!(corpus.get(count), None);
        assert_eq!(corpus.get(u64::MAX), None);
        let (mut keys, mut serials) = (HashSet::new(), HashSet::new());
        for (number, der) in corpus.iter().enumerate() {
            assert_eq!(corpus.get(number as u64), Some(der));
            let request = CertReq::from_der(der).unwrap();
            assert_eq!(request.to_der().unwrap(), der, "strict DER");
            assert_eq!(request.info.attributes.len(), 0);
            let subject = &request.info.subject;
            assert_eq!(subject.len(), 3);
            let serial = format!("BM-0000000000c0ffee-{:08}", number + 1);
            let (text, name) = (subject.to_string(), format!("CN={serial}"));
            assert!(text.contains("O=Acme") && text.contains(&name), "{text}");
            let values: Vec<_> = subject.iter_rdn().flat_map(|rdn| rdn.iter()).collect();
            values[0].value.decode_as::<Utf8StringRef<'_>>().unwrap();
            values[1].value.decode_as::<Utf8StringRef<'_>>().unwrap();
            let printable = values[2]
                .value
                .decode_as::<PrintableStringRef<'_>>()
                .unwrap();
            assert_eq!(printable.as_str(), serial);
            assert!(
                keys.insert(request.info.public_key.to_der().unwrap()),
                "a key twice"
            );
            assert!(serials.insert(serial));
        }
        // Every request verifies.
        assert_eq!(
            Sample::take(&corpus).unwrap().len() as u64,
            count.min(256),
            "{algorithm}"
        );
    }
}

#[test]
fn rsa_devices_sign_pss_where_they_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pss.corpus");
    let pss = |algorithm, count| {
        let keys = (algorithm, RsaSignature::Pss);
        Corpus::make_signing(&path, count, keys, SEED, &mut |_| {}).unwrap()
    };
    let first = pss(KeyAlgorithm::Rsa2048, 2);
    let retry = first.resign(&folder.path().join("retry.corpus"), &mut |_| {});
    for corpus in [first, retry.unwrap()] {
        assert_eq!(corpus.rsa_signature(), Some(RsaSignature::Pss));
        assert_eq!(Sample::take(&corpus).unwrap().len(), 2);
        corpus.iter().for_each(|der| openssl_verifies("PSS", der));
    }
    assert_eq!(pss(KeyAlgorithm::EcP256, 1).rsa_signature(), None);

    // Nothing but RSA keys can sign so.
    let mut bytes = fs::read(&path).unwrap();
    bytes[17] = 1;
    assert!(matches!(damaged(&bytes), CorpusError::Damaged { .. }));
}

#[test]
fn openssl_verifies_the_requests() {
    let folder = tempfile::tempdir().unwrap();
    // Not every openssl in use knows ML-DSA: the whole-system tests ask another implementation.
    let known = TESTED.map(|(algorithm, _)| algorithm);
    for algorithm in known.into_iter().filter(|known| known.ml_dsa().is_none()) {
        let corpus = make(&folder, algorithm, 2);
        for der in corpus.iter() {
            openssl_verifies(algorithm.name(), der);
        }
    }
}

fn openssl_verifies(what: &str, der: &[u8]) {
    let mut openssl = Command::new("openssl")
        .args(["req", "-inform", "DER", "-verify", "-noout", "-subject"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs the openssl command: install openssl");
    openssl.stdin.take().unwrap().write_all(der).unwrap();
    let output = openssl.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{what}: {said}");
    assert!(said.contains("verify OK"), "{what}: {said}");
    assert!(
        said.contains("serialNumber = BM-0000000000c0ffee-0000000"),
        "{said}"
    );
}

#[test]
fn a_retry_has_the_same_keys_and_names_and_fresh_signatures() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, count) in TESTED {
        let first = make(&folder, algorithm, count);
        let path = folder.path().join("retry.corpus");
        let mut made = 0;
        let retry = first.resign(&path, &mut |done| made = done).unwrap();
        assert_eq!((made, retry.len(), retry.generation()), (count, count, 1));
        // ECDSA draws a nonce and ML-DSA is hedged, the others sign alike again.
        let fresh = algorithm.curve().is_some() || algorithm.ml_dsa().is_some();
        for (one, two) in first.iter().zip(retry.iter()) {
            let (a, b) = (
                CertReq::from_der(one).unwrap(),
                CertReq::from_der(two).unwrap(),
            );
            assert_eq!(a.info, b.info);
            assert_eq!(one != two, fresh, "{algorithm}");
        }
        assert_eq!(Sample::take(&retry).unwrap().len() as u64, count.min(256));
        let third = retry
            .resign(&folder.path().join("third.corpus"), &mut |_| {})
            .unwrap();
        assert_eq!(third.generation(), 2);
        let info = |corpus: &Corpus| CertReq::from_der(corpus.get(0).unwrap()).unwrap().info;
        assert_eq!(info(&third), info(&first));
    }
}

#[test]
fn a_seed_makes_the_same_devices_and_another_seed_others() {
    let folder = tempfile::tempdir().unwrap();
    let first = make(&folder, KeyAlgorithm::EcP256, 5);
    let path = folder.path().join("again.corpus");
    let key = |corpus: &Corpus| {
        CertReq::from_der(corpus.get(4).unwrap())
            .unwrap()
            .info
            .public_key
            .to_der()
            .unwrap()
    };
    let same = Corpus::make(&path, 5, KeyAlgorithm::EcP256, SEED, &mut |_| {}).unwrap();
    assert_eq!(key(&same), key(&first));
    let other = Corpus::make(&path, 5, KeyAlgorithm::EcP256, SEED + 1, &mut |_| {}).unwrap();
    assert_ne!(key(&other), key(&first));
    assert_eq!(
        same.len(),
        5,
        "an open corpus outlives the file that replaced it"
    );
}

#[test]
fn forgotten_pages_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = make(&folder, KeyAlgorithm::EcP256, 200);
    let before: Vec<Vec<u8>> = corpus.iter().map(<[u8]>::to_vec).collect();
    corpus.forget(0..100);
    corpus.forget(100..u64::MAX);
    corpus.forget(300..400);
    assert!(corpus.iter().eq(before.iter().map(Vec::as_slice)));
}

#[test]
fn counts_that_make_no_corpus_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.corpus");
    for count in [0, u64::MAX] {
        let error = Corpus::make(&path, count, KeyAlgorithm::EcP256, 1, &mut |_| {}).unwrap_err();
        assert!(
            matches!(error, CorpusError::Count(n) if n == count),
            "{error}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let nowhere = folder.path().join("missing/x.corpus");
    let error = Corpus::make(&nowhere, 1, KeyAlgorithm::EcP256, 1, &mut |_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            CorpusError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = make(&folder, KeyAlgorithm::EcP256, 1);
    assert!(Corpus::is_corpus(corpus.path()).unwrap());
    for bytes in [
        &b""[..],
        b"BMCORPU",
        b"-----BEGIN CERTIFICATE REQUEST-----",
        &[0x30; 500],
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        assert!(!Corpus::is_corpus(file.path()).unwrap());
        assert!(matches!(damaged(bytes), CorpusError::NotACorpus { .. }));
    }
    let missing = folder.path().join("missing");
    assert!(matches!(
        Corpus::open(&missing),
        Err(CorpusError::Io { action: "open", .. })
    ));
    let mut newer = fs::read(corpus.path()).unwrap();
    newer[8] = 2;
    assert!(matches!(
        damaged(&newer),
        CorpusError::Version { version: 2, .. }
    ));
}

#[test]
fn every_cut_and_every_change_of_header_or_table_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, count) in [(KeyAlgorithm::EcP256, 3), (KeyAlgorithm::Rsa2048, 2)] {
        let corpus = make(&folder, algorithm, count);
        let whole = fs::read(corpus.path()).unwrap();
        for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            damaged(&whole[..length]);
        }
        let longer = [&whole[..], &[0]].concat();
        damaged(&longer);
        // Generation and seed say nothing about positions, and another known algorithm is as
        // good as this one. All else in the header must match.
        let free = [12..16, 16..17, 32..40];
        let header = (0..HEADER_BYTES).filter(|at| !free.iter().any(|free| free.contains(at)));
        // A border between two items may move by a little and both still be requests of a
        // possible length: judging those is up to the engine. So move borders far.
        let table = corpus.header.requests_table as usize;
        let borders = (table..whole.len()).filter(|at| (at - table) % 8 >= 2);
        for at in header.chain(borders) {
            let mut changed = whole.clone();
            changed[at] ^= 0x80;
            damaged(&changed);
        }
    }
}

#[test]
fn impossible_counts_and_positions_overflow_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(make(&folder, KeyAlgorithm::EcP256, 2).path()).unwrap();
    for field in [24, 40, 48, 56] {
        for value in [
            0,
            1,
            u64::MAX,
            u64::MAX - 7,
            u64::MAX / 8,
            1 << 63,
            whole.len() as u64 + 1,
        ] {
            let mut changed = whole.clone();
            changed[field..field + 8].copy_from_slice(&value.to_le_bytes());
            if changed != whole {
                damaged(&changed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Garbage behind a good start never panics, and what opens can be read to the end.
    #[test]
    fn garbage_never_panics(
        head in proptest::array::uniform32(any::<u8>()),
        tail in proptest::collection::vec(any::<u8>(), 0..400),
        good_start in any::<bool>(),
    ) {
        let mut bytes = [&head[..], &tail].concat();
        if good_start {
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
            bytes[16..24].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        if let Ok(corpus) = Corpus::open(file.path()) {
            prop_assert_eq!(corpus.iter().count() as u64, corpus.len());
        }
    }
}
