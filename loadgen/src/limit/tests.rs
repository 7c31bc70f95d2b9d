//! The limit loop on a software key.

use birthmark_hsm::SoftwareKey;

use super::*;

fn corpus(folder: &tempfile::TempDir, algorithm: KeyAlgorithm, count: u64) -> Corpus {
    let path = folder.path().join(algorithm.name());
    Corpus::make(&path, count, algorithm, 7, &mut |_| {}).unwrap()
}

/// What this processor gives.
fn path() -> Path {
    p256x8::Verifier::new().path()
}

#[test]
fn slices_run_on_the_same_threads_for_every_kind_of_key() {
    let folder = tempfile::tempdir().unwrap();
    let requests = corpus(&folder, KeyAlgorithm::EcP256, 20);
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::MlDsa65,
        KeyAlgorithm::Rsa2048,
    ] {
        let pool = SigningPool::software(SoftwareKey::generate(algorithm).unwrap());
        let mut limit = LimitLoop::start(&pool, &requests, path(), Some(3)).unwrap();
        assert_eq!(limit.threads(), 3);
        for _ in 0..3 {
            let slice = limit.slice(Duration::from_millis(60)).unwrap();
            assert!(
                slice.count > 0 && slice.per_second > 0.0,
                "{algorithm}: {slice:?}"
            );
            assert!(slice.seconds >= 0.06, "{slice:?}");
            let scalar = limit.scalar_slice(Duration::from_millis(20)).unwrap();
            assert!(scalar.count > 0, "{algorithm}: {scalar:?}");
            // Each thread's own time is no longer than the slice's.
            assert!(
                slice.per_second >= slice.count as f64 / slice.seconds * 0.999,
                "{slice:?}"
            );
        }
    }
}

#[test]
fn every_kind_of_request_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let pool = SigningPool::software(SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap());
    for (algorithm, count) in [
        (KeyAlgorithm::EcP256, 5),
        (KeyAlgorithm::EcP384, 5),
        (KeyAlgorithm::EcP521, 5),
        (KeyAlgorithm::Ed25519, 5),
        (KeyAlgorithm::MlDsa44, 5),
        (KeyAlgorithm::Rsa2048, 2),
    ] {
        let requests = corpus(&folder, algorithm, count);
        let mut limit = LimitLoop::start(&pool, &requests, path(), None).unwrap();
        assert_eq!(limit.threads(), process::cores(), "a software key computes");
        assert!(limit.slice(Duration::from_millis(30)).unwrap().count > 0);
    }
}

#[test]
fn requests_that_do_not_verify_are_no_load() {
    let folder = tempfile::tempdir().unwrap();
    let good = corpus(&folder, KeyAlgorithm::EcP256, 2);
    let mut bytes = std::fs::read(good.path()).unwrap();
    // The last byte of each request is the last of its signature.
    let end = |number: u64| {
        let request = good.get(number).unwrap();
        let start = bytes
            .windows(request.len())
            .position(|part| part == request)
            .unwrap();
        start + request.len() - 1
    };
    let (first, second) = (end(0), end(1));
    bytes[first] ^= 1;
    let path = folder.path().join("half");
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(
        Sample::take(&Corpus::open(&path).unwrap()).unwrap().len(),
        1
    );
    bytes[second] ^= 1;
    let path = folder.path().join("none");
    std::fs::write(&path, &bytes).unwrap();
    let pool = SigningPool::software(SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap());
    let error =
        LimitLoop::start(&pool, &Corpus::open(&path).unwrap(), self::path(), None).unwrap_err();
    assert!(matches!(error, LimitError::NoRequest(_)), "{error}");
}

#[test]
fn a_token_gets_more_threads_to_choose_from_than_a_software_key() {
    assert_eq!(candidates(2, true), [2]);
    assert_eq!(candidates(2, false), [2, 3, 4, 8]);
    assert_eq!(candidates(1, false), [1, 2, 4]);
}

#[test]
fn without_lanes_one_loop_stands_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let duration = Duration::from_millis(20);
    let table = [
        (KeyAlgorithm::EcP256, KeyAlgorithm::EcP256, true),
        (KeyAlgorithm::EcP256, KeyAlgorithm::EcP384, true),
        (KeyAlgorithm::EcP384, KeyAlgorithm::EcP256, true),
        (KeyAlgorithm::EcP384, KeyAlgorithm::Ed25519, false),
    ];
    for (requests, signer, fit) in table {
        let requests = corpus(&folder, requests, 5);
        let pool = SigningPool::software(SoftwareKey::generate(signer).unwrap());
        for path in [path(), Path::Scalar] {
            let mut limit = LimitLoop::start(&pool, &requests, path, Some(1)).unwrap();
            assert_eq!(limit.has_lanes(), fit && path != Path::Scalar);
            let (fastest, scalar) = limit.both_slices(duration).unwrap();
            assert!(fastest.count > 0 && scalar.count > 0);
            assert_eq!(fastest == scalar, !limit.has_lanes());
        }
    }
}

#[test]
fn a_signature_that_is_wrong_ends_either_loop() {
    let folder = tempfile::tempdir().unwrap();
    let requests = corpus(&folder, KeyAlgorithm::EcP256, 70);
    let pool = |_| SigningPool::software(SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap());
    let [signing, other] = [0, 1].map(pool);
    let sample = Arc::new(Sample::take(&requests).unwrap());
    let issuer = verification::issuer(&other).unwrap();
    let lanes = SharedLanes::new(path(), &other, KeyAlgorithm::EcP256);
    let signers = signing.raw_signers(1).unwrap();
    let algorithm = KeyAlgorithm::EcP256;
    let mut limit = LimitLoop::spawn(signers, &sample, &issuer, algorithm, lanes.as_ref()).unwrap();
    let duration = Duration::from_millis(5);
    for result in [limit.slice(duration), limit.scalar_slice(duration)] {
        let error = result.unwrap_err();
        assert!(matches!(error, LimitError::WrongSignature), "{error}");
    }
}
