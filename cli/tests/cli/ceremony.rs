//! What the ceremony makes, judged by openssl and by x509-cert.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use birthmark::ceremony::{self, CaPlan, CeremonyError};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use der::{DecodePem, Encode};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};

fn plan(directory: &Path) -> CaPlan {
    CaPlan::new(directory, "C=DE,O=Acme,CN=Acme Issuing CA".parse().unwrap())
}

fn certificate(path: &Path) -> Certificate {
    Certificate::from_pem(fs::read(path).unwrap()).unwrap()
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn openssl_accepts_the_chain_of_every_algorithm() {
    let outer = tempfile::tempdir().unwrap();
    let pss = (KeyAlgorithm::Rsa3072, Some(RsaSignature::Pss));
    let cases = KeyAlgorithm::ALL.map(|algorithm| (algorithm, None));
    // Not every openssl in use knows ML-DSA: the whole-system tests ask another implementation.
    let cases = cases
        .into_iter()
        .filter(|(case, _)| case.ml_dsa().is_none());
    for (algorithm, rsa_signature) in cases.chain([pss]) {
        let name = format!("{algorithm} {rsa_signature:?}");
        let mut plan = plan(&outer.path().join(name));
        plan.algorithm = algorithm;
        plan.rsa_signature = rsa_signature;
        let created = ceremony::create(&plan).unwrap();
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-check_ss_sig", "-CAfile"])
            .args([&created.root_certificate, &created.issuing_certificate])
            .output()
            .expect("openssl must be installed for this test");
        assert!(verified.status.success(), "{algorithm}: {verified:?}");
        let key = created.issuing_key.unwrap();
        let public = |arguments: &[&str], file: &Path| {
            let output = Command::new("openssl")
                .args(arguments)
                .arg(file)
                .output()
                .unwrap();
            assert!(output.status.success(), "{algorithm}: {output:?}");
            output.stdout
        };
        assert_eq!(
            public(&["pkey", "-pubout", "-in"], &key),
            public(
                &["x509", "-pubkey", "-noout", "-in"],
                &created.issuing_certificate
            ),
            "{algorithm}: the key file belongs to the certificate"
        );
    }
}

#[test]
fn the_certificates_hold_what_rfc_5280_wants() {
    let outer = tempfile::tempdir().unwrap();
    let before = SystemTime::now();
    let created = ceremony::create(&plan(&outer.path().join("ca"))).unwrap();
    let (root, issuing) = (
        certificate(&created.root_certificate),
        certificate(&created.issuing_certificate),
    );
    let (root, issuing) = (root.tbs_certificate(), issuing.tbs_certificate());

    assert_eq!(root.subject(), root.issuer());
    assert_eq!(root.subject(), issuing.issuer());
    assert_eq!(
        issuing.subject().to_string(),
        "CN=Acme Issuing CA,O=Acme,C=DE"
    );
    assert_eq!(created.root_subject, "C=DE,O=Acme,CN=Acme Root CA");

    for (tbs, path_length) in [(root, None), (issuing, Some(0))] {
        let (critical, constraints) = tbs.get_extension::<BasicConstraints>().unwrap().unwrap();
        assert!(critical && constraints.ca);
        assert_eq!(constraints.path_len_constraint, path_length);
        let (critical, usage) = tbs.get_extension::<KeyUsage>().unwrap().unwrap();
        // BIT STRING 0000011: keyCertSign and cRLSign, nothing else.
        assert_eq!(
            (critical, usage.to_der().unwrap()),
            (true, vec![3, 2, 1, 6])
        );
        assert_eq!(tbs.serial_number().as_bytes().len(), ceremony::SERIAL_BYTES);
        assert!(tbs.serial_number().as_bytes()[0] < 0x80, "positive");

        let validity = tbs.validity().to_der().unwrap();
        assert!(
            validity.ends_with(b"\x18\x0f99991231235959Z"),
            "GeneralizedTime, no expiry"
        );
        let begins = tbs.validity().not_before.to_system_time();
        let age = before.duration_since(begins).unwrap();
        let slack = std::time::Duration::from_secs(1);
        assert!(age <= ceremony::NOT_BEFORE_BACKDATE + slack, "{age:?}");
        assert!(age + std::time::Duration::from_secs(600) >= ceremony::NOT_BEFORE_BACKDATE);
    }
    assert_ne!(root.serial_number(), issuing.serial_number());

    let key_id = |tbs: &x509_cert::TbsCertificate| {
        let (critical, id) = tbs
            .get_extension::<SubjectKeyIdentifier>()
            .unwrap()
            .unwrap();
        assert!(!critical);
        id.0
    };
    let (critical, authority) = issuing
        .get_extension::<AuthorityKeyIdentifier>()
        .unwrap()
        .unwrap();
    assert!(!critical);
    assert_eq!(authority.key_identifier.unwrap(), key_id(root));
    assert!(authority.authority_cert_issuer.is_none());
    assert_ne!(key_id(root), key_id(issuing));
    // RFC 7093 §2 method 1.
    let spki = issuing.subject_public_key_info();
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        spki.subject_public_key.raw_bytes(),
    );
    assert_eq!(key_id(issuing).as_bytes(), &hash.as_ref()[..20]);
}

#[test]
fn keys_are_for_their_owner_only() {
    let outer = tempfile::tempdir().unwrap();
    let created = ceremony::create(&plan(&outer.path().join("ca"))).unwrap();
    let directory = outer.path().join("ca");
    let keys = [
        created.root_key.unwrap(),
        created.issuing_key.unwrap(),
        directory.join("log.key"),
    ];
    for key in keys {
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
    for private in [directory.clone(), directory.join("root")] {
        let mode = fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", private.display());
    }
}

#[test]
fn the_configuration_loads() {
    let outer = tempfile::tempdir().unwrap();
    let mut plan = plan(&outer.path().join("a \"CA\" with spaces"));
    plan.origin = Some("example.com/line-1".to_owned());
    let created = ceremony::create(&plan).unwrap();
    assert_eq!(created.log_origin, "example.com/line-1");
    let configuration = birthmark_engine::Configuration::load(&created.configuration).unwrap();
    configuration.station().unwrap();
}

#[test]
fn log_origins_differ() {
    let outer = tempfile::tempdir().unwrap();
    let origin = |name: &str| {
        ceremony::create(&plan(&outer.path().join(name)))
            .unwrap()
            .log_origin
    };
    let (first, second) = (origin("a"), origin("b"));
    assert!(
        first.starts_with("birthmark.invalid/") && first.len() == 50,
        "{first}"
    );
    assert_ne!(first, second);
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("ca");
    fs::create_dir(&directory).unwrap();
    let created = ceremony::create(&plan(&directory)).expect("an empty directory may be there");
    let key = fs::read(created.issuing_key.unwrap()).unwrap();

    let refused = ceremony::create(&plan(&directory)).unwrap_err();
    assert!(matches!(refused, CeremonyError::Exists { .. }), "{refused}");
    assert_eq!(fs::read(directory.join("issuing-ca.key")).unwrap(), key);

    fs::write(outer.path().join("file"), "x").unwrap();
    let refused = ceremony::create(&plan(&outer.path().join("file"))).unwrap_err();
    assert!(matches!(refused, CeremonyError::Exists { .. }), "{refused}");

    let mut same = plan(&outer.path().join("same"));
    same.root_subject = Some(same.subject.clone());
    assert!(matches!(
        ceremony::create(&same),
        Err(CeremonyError::SameSubject)
    ));
    for origin in ["", "a b", "a+b", "a\nb"] {
        let mut wrong = plan(&outer.path().join("origin"));
        wrong.origin = Some(origin.to_owned());
        assert!(
            matches!(ceremony::create(&wrong), Err(CeremonyError::Origin { .. })),
            "{origin:?}"
        );
    }
    assert_eq!(entries(outer.path()), ["ca", "file"]);
}

#[test]
fn a_token_that_fails_leaves_no_directory() {
    let outer = tempfile::tempdir().unwrap();
    let module = outer.path().join("not-a-module.so");
    fs::write(&module, "text").unwrap();
    let mut plan = plan(&outer.path().join("ca"));
    let uri = format!("pkcs11:token=t;object=k?module-path={}", module.display());
    plan.signer = uri.parse().unwrap();
    let refused = ceremony::create(&plan).unwrap_err();
    assert!(
        matches!(refused, CeremonyError::Generate { .. }),
        "{refused:?}"
    );
    assert_eq!(entries(outer.path()), ["not-a-module.so"]);
}
