//! Software keys: what is signed verifies, what is written reads back, what is exposed is refused.

#![allow(clippy::too_many_lines, reason = "a test tells its story in one piece")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use birthmark_hsm::{
    KeyAlgorithm, PublicKey, SignError, SignInput, SignerLocation, SigningPool, SoftwareKey,
    SoftwareKeyError,
};

mod test_token;
use test_token::{messages, sign_all, verifies};

/// Runs openssl, which has to be there.
fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str()
        .expect("a temporary directory with a UTF-8 name")
}

#[test]
fn each_algorithm_signs_what_verifies() {
    for algorithm in KeyAlgorithm::ALL {
        let key = SoftwareKey::generate(algorithm).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.public_key().algorithm(), Some(algorithm));
        let input = SignInput::for_key(algorithm, b"a message");
        let signature = key.sign(&input).unwrap();
        assert!(
            verifies(key.public_key(), b"a message", &signature),
            "{algorithm}"
        );
        assert!(
            !verifies(key.public_key(), b"another message", &signature),
            "{algorithm}"
        );
    }
}

#[test]
fn an_input_made_for_another_key_is_refused() {
    for algorithm in KeyAlgorithm::ALL {
        let key = SoftwareKey::generate(algorithm).unwrap();
        for other in KeyAlgorithm::ALL {
            let outcome = key.sign(&SignInput::for_key(other, b"a message"));
            if other.digest() == algorithm.digest() {
                assert!(outcome.is_ok(), "{algorithm} {other}");
            } else {
                assert_eq!(outcome.unwrap_err(), SignError::WrongInput { algorithm });
            }
        }
    }
}

#[test]
fn a_key_reads_back_from_its_file_and_openssl_agrees() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in KeyAlgorithm::ALL {
        let path = directory.path().join(format!("{algorithm}.pem"));
        let key = SoftwareKey::generate(algorithm).unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );

        let read = SoftwareKey::read(&path).unwrap();
        assert_eq!(read.algorithm(), algorithm);
        assert_eq!(read.public_key(), key.public_key());
        let signature = read.sign(&SignInput::for_key(algorithm, b"m")).unwrap();
        assert!(verifies(key.public_key(), b"m", &signature));

        // Not every openssl in use knows ML-DSA; the tests of ml_dsa.rs ask another implementation.
        if algorithm.ml_dsa().is_some() {
            continue;
        }
        // The end of the DER SubjectPublicKeyInfo is the public key.
        let spki = openssl(&["pkey", "-in", text(&path), "-pubout", "-outform", "DER"]);
        match key.public_key() {
            PublicKey::Ec { point, .. } => assert!(spki.ends_with(point), "{algorithm}"),
            PublicKey::Ed25519(point) => assert!(spki.ends_with(point), "{algorithm}"),
            PublicKey::MlDsa { .. } => unreachable!("left out above"),
            PublicKey::Rsa { modulus, exponent } => {
                assert!(spki.ends_with(exponent), "{algorithm}");
                assert!(
                    spki.windows(modulus.len()).any(|part| part == modulus),
                    "{algorithm}"
                );
            }
        }
    }
}

#[test]
fn keys_made_by_openssl_are_imported() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        (KeyAlgorithm::EcP256, ["EC", "ec_paramgen_curve:P-256"]),
        (KeyAlgorithm::EcP384, ["EC", "ec_paramgen_curve:P-384"]),
        (KeyAlgorithm::EcP521, ["EC", "ec_paramgen_curve:P-521"]),
        (KeyAlgorithm::Rsa2048, ["RSA", "rsa_keygen_bits:2048"]),
        (KeyAlgorithm::Rsa3072, ["RSA", "rsa_keygen_bits:3072"]),
    ];
    let import = |algorithm: KeyAlgorithm, options: &[&str]| {
        let path = directory.path().join(format!("{algorithm}.pem"));
        openssl(&[&["genpkey", "-out", text(&path), "-algorithm"], options].concat());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key = SoftwareKey::read(&path).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let signature = key.sign(&SignInput::for_key(algorithm, b"m")).unwrap();
        assert!(verifies(key.public_key(), b"m", &signature));
    };
    import(KeyAlgorithm::Ed25519, &["ED25519"]);
    for (algorithm, [kind, parameter]) in cases {
        import(algorithm, &[kind, "-pkeyopt", parameter]);
    }
}

#[test]
fn what_is_no_key_is_refused_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let refused = |file: &Path| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        match SoftwareKey::read(file).unwrap_err() {
            SoftwareKeyError::Content { path, source } => {
                assert_eq!(path, file);
                *source
            }
            other => other,
        }
    };
    let write = |name: &str, content: &[u8]| {
        fs::write(path(name), content).unwrap();
        path(name)
    };
    let key = SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap();
    let pem = key.to_pkcs8_pem().unwrap();

    for (name, content) in [
        ("empty", Vec::new()),
        ("text", b"no key at all\n".to_vec()),
        ("binary", vec![0xff; 100]),
        ("truncated", pem.as_bytes()[..pem.len() / 2].to_vec()),
    ] {
        let error = refused(&write(name, &content));
        assert!(matches!(error, SoftwareKeyError::Pem(_)), "{name}: {error}");
    }
    let long = refused(&write("long", &vec![b'\n'; 70_000]));
    assert!(matches!(long, SoftwareKeyError::TooLong { .. }), "{long}");

    let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let error = refused(&write("certificate", certificate.as_bytes()));
    assert!(error.to_string().contains("CERTIFICATE"), "{error}");

    openssl(&[
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        text(&path("sec1")),
    ]);
    let error = refused(&path("sec1"));
    assert!(
        error.to_string().contains("pkcs8 -topk8 -nocrypt"),
        "{error}"
    );

    for options in [
        ["EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"],
        ["RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
        ["RSA", "-pkeyopt", "rsa_keygen_bits:2560"],
    ] {
        let other = path("other");
        openssl(
            &[
                &["genpkey", "-out", text(&other), "-algorithm"],
                &options[..],
            ]
            .concat(),
        );
        let error = refused(&other);
        assert!(
            matches!(error, SoftwareKeyError::Unsupported),
            "{options:?}: {error}"
        );
    }

    let missing = SoftwareKey::read(&path("missing")).unwrap_err();
    assert!(
        matches!(missing, SoftwareKeyError::File { .. }) && missing.to_string().contains("missing")
    );
    assert!(matches!(
        SoftwareKey::read(directory.path()),
        Err(SoftwareKeyError::File { .. })
    ));
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    SoftwareKey::generate(KeyAlgorithm::EcP256)
        .unwrap()
        .write_new(&path)
        .unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o610] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = SoftwareKey::read(&path).unwrap_err();
        assert!(matches!(error, SoftwareKeyError::Exposed { mode: found, .. } if found == mode));
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    SoftwareKey::read(&path).unwrap();
}

#[test]
fn a_file_that_exists_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    let first = SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap();
    first.write_new(&path).unwrap();
    let error = SoftwareKey::generate(KeyAlgorithm::EcP256)
        .unwrap()
        .write_new(&path)
        .unwrap_err();
    assert!(matches!(error, SoftwareKeyError::File { .. }), "{error}");
    assert_eq!(
        SoftwareKey::read(&path).unwrap().public_key(),
        first.public_key()
    );
}

#[test]
fn nothing_shows_the_private_key() {
    let key = SoftwareKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.len() < 60 && shown.contains("Ed25519"), "{shown}");
}

#[test]
fn the_pool_signs_inline_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    SoftwareKey::generate(KeyAlgorithm::EcP256)
        .unwrap()
        .write_new(&path)
        .unwrap();
    let location: SignerLocation = format!("software:{}", path.display()).parse().unwrap();
    let pool = SigningPool::open(&location, Default::default()).unwrap();
    assert!(pool.signs_inline());
    assert_eq!(pool.describe(), "software P-256");
    let messages = messages(100);
    for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
        assert!(verifies(pool.public_key(), message, &outcome.unwrap()));
    }
    let metrics = pool.metrics();
    assert_eq!(
        (metrics.signatures, metrics.errors_total(), metrics.queued),
        (100, 0, 0)
    );

    let input = pool.input_for(b"m");
    for mut signer in pool.raw_signers(2).unwrap() {
        let mut signature = birthmark_hsm::Signature::empty();
        signer.sign(&input, &mut signature).unwrap();
        assert!(verifies(pool.public_key(), b"m", &signature));
    }
    pool.close().unwrap();
}
