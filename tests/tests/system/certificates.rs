//! Other software reads what was issued: openssl verifies the chains, x509-cert re-reads every
//! field. The requests are openssl's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use birthmark_engine::{IssueStatus, Request};
use birthmark_hsm::KeyAlgorithm;
use der::asn1::ObjectIdentifier;
use der::{Decode, DecodePem, Encode, Tag, Tagged};
use tempfile::TempDir;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::{GeneralName, HardwareModuleName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::request::CertReq;
use x509_cert::time::Time;

use crate::requests::{
    COMMON_NAME, Key, SERIAL_NUMBER, challenge_password, from_pem, name, openssl,
};
use crate::station::{Factory, Signer, rejection};

on_every_signer!(
    openssl_and_x509_cert_agree_on_every_field,
    attributes_of_requests_are_wishes_and_secrets_stay_out,
);

/// Kinds of device keys, as openssl calls them, and whether TLS clients may hold them.
const DEVICE_KEYS: [(&str, &[&str], bool); 4] = [
    (
        "p256",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        true,
    ),
    (
        "p384",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        true,
    ),
    ("ed25519", &["-algorithm", "ED25519"], false),
    (
        "rsa2048",
        &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        true,
    ),
];

/// openssl's requests for each kind of key; the keys are made once for all tests.
struct OpensslDevices {
    directory: TempDir,
}

impl OpensslDevices {
    fn get() -> &'static OpensslDevices {
        static DEVICES: OnceLock<OpensslDevices> = OnceLock::new();
        DEVICES.get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            for (kind, arguments, _) in DEVICE_KEYS {
                let out = directory.path().join(kind);
                let out = ["-out", out.to_str().unwrap()];
                openssl(&[&["genpkey"], arguments, &out].concat());
            }
            OpensslDevices { directory }
        })
    }

    /// A request, DER, for a device of this kind. `more` are arguments of `openssl req`.
    fn request(&self, kind: &str, subject: &str, more: &[&str]) -> Vec<u8> {
        let key = self.directory.path().join(kind);
        let fixed = [
            "req",
            "-new",
            "-key",
            key.to_str().unwrap(),
            "-subj",
            subject,
        ];
        let made = openssl(&[&fixed, more].concat());
        from_pem(&made.stdout)
    }
}

fn openssl_and_x509_cert_agree_on_every_field(signer: Signer) {
    let factory = Factory::new(signer);
    // The key domains are kept apart here, so that one key can have a certificate of each kind.
    let client = fs::read_to_string(factory.path("ca/profiles/tls-client.toml")).unwrap();
    factory.file(
        "ca/profiles/tls-client.toml",
        client.replace(
            "base = \"tls-client\"",
            "base = \"tls-client\"\nkey_domain = \"clients\"",
        ),
    );
    let engine = factory.open();
    for (kind, _, client) in DEVICE_KEYS {
        let serial = format!("SN-{kind}");
        let subject = format!("/C=DE/O=Acme/CN=device-{kind}/serialNumber={serial}");
        let csr = OpensslDevices::get().request(kind, &subject, &[]);
        for profile in ["idevid", "tls-client"] {
            let result = engine.issue(Request::new(csr.clone(), profile));
            if profile == "tls-client" && !client {
                assert_eq!(rejection(result).reason(), "key-not-allowed");
                continue;
            }
            let issued = result.unwrap_or_else(|error| panic!("{kind} {profile}: {error}"));
            assert_eq!(issued.status, IssueStatus::Issued);
            let path = factory.path(&format!("{kind}-{profile}.pem"));
            fs::write(&path, issued.certificate.to_pem()).unwrap();
            let purpose = (profile == "tls-client").then_some("sslclient");
            openssl_verifies(&factory, &path, purpose);
            let der = issued.certificate.as_der();
            match profile {
                "idevid" => check_idevid(&factory, der, &csr, &serial, &path),
                _ => check_tls_client(&factory, der, &csr, &format!("device-{kind}"), &path),
            }
        }
    }
    engine.close().unwrap();
    // Each key stands twice here, on purpose; the log is whole all the same.
    assert_eq!(factory.verify().records, 7);
}

/// The chain up to the root, with strict checks of the encoding, and only that root.
pub(crate) fn openssl_verifies(factory: &Factory, certificate: &Path, purpose: Option<&str>) {
    let ca = |file: &str| factory.path("ca").join(file).to_str().unwrap().to_owned();
    let (root, issuing) = (ca("root/root-ca.pem"), ca("issuing-ca.pem"));
    // The log's time never goes back, so a machine whose clock is set back a little is behind it for a while.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_a_minute = (now.as_secs() + 60).to_string();
    let mut arguments = vec![
        "verify",
        "-attime",
        &in_a_minute,
        "-x509_strict",
        "-no-CApath",
        "-CAfile",
        &root,
        "-untrusted",
        &issuing,
    ];
    if let Some(purpose) = purpose {
        arguments.extend(["-purpose", purpose]);
    }
    arguments.push(certificate.to_str().unwrap());
    openssl(&arguments);
}

/// `openssl x509 -text` reads it and shows these lines.
fn openssl_shows(certificate: &Path, lines: &[&str]) {
    let shown = openssl(&[
        "x509",
        "-noout",
        "-text",
        "-in",
        certificate.to_str().unwrap(),
    ]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in lines {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
}

/// What both profiles have in common. Gives the certificate as x509-cert reads it.
fn check_common(factory: &Factory, der: &[u8], csr: &[u8]) -> Certificate {
    let certificate = Certificate::from_der(der).unwrap();
    assert_eq!(
        certificate.to_der().unwrap(),
        der,
        "the encoding is canonical"
    );
    let pem = fs::read(factory.path("ca/issuing-ca.pem")).unwrap();
    let issuer = Certificate::from_pem(pem).unwrap();
    let (tbs, issuer_tbs) = (certificate.tbs_certificate(), issuer.tbs_certificate());
    assert_eq!(tbs.version(), Version::V3);
    let serial = tbs.serial_number().as_bytes();
    assert!(
        (8..=20).contains(&serial.len()) && serial[0] < 0x80,
        "{serial:02x?}"
    );
    assert_eq!(
        tbs.issuer().to_der().unwrap(),
        issuer_tbs.subject().to_der().unwrap()
    );
    assert_eq!(tbs.signature(), certificate.signature_algorithm());
    let (oid, null) = match factory.signer.algorithm() {
        KeyAlgorithm::EcP256 => ("1.2.840.10045.4.3.2", false),
        KeyAlgorithm::EcP384 => ("1.2.840.10045.4.3.3", false),
        KeyAlgorithm::Ed25519 => ("1.3.101.112", false),
        _ => ("1.2.840.113549.1.1.11", true),
    };
    assert_eq!(tbs.signature().oid, ObjectIdentifier::new_unwrap(oid));
    assert_eq!(tbs.signature().parameters.is_some(), null);
    let request = CertReq::from_der(csr).unwrap();
    assert_eq!(tbs.subject_public_key_info(), &request.info.public_key);
    assert_eq!(tbs.issuer_unique_id(), &None);
    assert_eq!(tbs.subject_unique_id(), &None);

    let (critical, usage) = tbs.get_extension::<KeyUsage>().unwrap().unwrap();
    assert!(critical);
    assert_eq!(usage, KeyUsage(KeyUsages::DigitalSignature.into()));
    let (critical, authority) = tbs
        .get_extension::<AuthorityKeyIdentifier>()
        .unwrap()
        .unwrap();
    let (_, issuer_key) = issuer_tbs
        .get_extension::<SubjectKeyIdentifier>()
        .unwrap()
        .unwrap();
    assert!(!critical);
    assert_eq!(authority.key_identifier.as_ref(), Some(&issuer_key.0));
    assert!(authority.authority_cert_issuer.is_none());
    assert!(authority.authority_cert_serial_number.is_none());
    certificate
}

/// Identifiers of the extensions, sorted.
fn extension_ids(certificate: &Certificate) -> Vec<String> {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let mut ids: Vec<_> = extensions
        .iter()
        .map(|extension| extension.extn_id.to_string())
        .collect();
    ids.sort();
    ids
}

/// The subject's attributes: identifier, string type, value.
fn subject(certificate: &Certificate) -> Vec<(ObjectIdentifier, Tag, String)> {
    let parts = certificate.tbs_certificate().subject().iter();
    parts
        .map(|part| {
            let value = String::from_utf8(part.value.value().to_vec()).unwrap();
            (part.oid, part.value.tag(), value)
        })
        .collect()
}

/// IEEE 802.1AR-2018 §8 as profiles/idevid.toml has it.
fn check_idevid(factory: &Factory, der: &[u8], csr: &[u8], serial: &str, path: &Path) {
    let certificate = check_common(factory, der, csr);
    let tbs = certificate.tbs_certificate();
    assert_eq!(
        subject(&certificate),
        [(SERIAL_NUMBER, Tag::PrintableString, serial.to_owned())]
    );
    assert_eq!(tbs.validity().not_after, Time::INFINITY);
    assert_recent(tbs.validity().not_before, Duration::ZERO);
    // keyUsage, subjectAltName, authorityKeyIdentifier; no subjectKeyIdentifier in an IDevID.
    assert_eq!(
        extension_ids(&certificate),
        ["2.5.29.15", "2.5.29.17", "2.5.29.35"]
    );
    let (critical, names) = tbs.get_extension::<SubjectAltName>().unwrap().unwrap();
    assert!(!critical, "the subject is not empty");
    let [GeneralName::OtherName(other)] = &names.0[..] else {
        panic!("{names:?}")
    };
    let module = HardwareModuleName::from_other_name(other).unwrap().unwrap();
    assert_eq!(
        module.hw_type,
        ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1")
    );
    assert_eq!(module.hw_serial_num.as_bytes(), serial.as_bytes());
    openssl_shows(
        path,
        &[
            "Version: 3 (0x2)",
            "Issuer: O = Acme, CN = Acme Issuing CA",
            "Not After : Dec 31 23:59:59 9999 GMT",
            &format!("Subject: serialNumber = {serial}"),
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Subject Alternative Name:",
        ],
    );
}

/// A TLS client certificate as profiles/tls-client.toml has it.
fn check_tls_client(factory: &Factory, der: &[u8], csr: &[u8], common_name: &str, path: &Path) {
    let certificate = check_common(factory, der, csr);
    let tbs = certificate.tbs_certificate();
    assert_eq!(
        subject(&certificate),
        [(COMMON_NAME, Tag::Utf8String, common_name.to_owned())]
    );
    let backdate = Duration::from_secs(5 * 60);
    assert_recent(tbs.validity().not_before, backdate);
    let lifetime =
        tbs.validity().not_after.to_unix_duration() - tbs.validity().not_before.to_unix_duration();
    let days = Duration::from_secs(3650 * 86_400);
    assert!((days..=days + backdate).contains(&lifetime), "{lifetime:?}");
    // keyIdentifier, keyUsage, authorityKeyIdentifier, extKeyUsage.
    assert_eq!(
        extension_ids(&certificate),
        ["2.5.29.14", "2.5.29.15", "2.5.29.35", "2.5.29.37"]
    );
    let (_, purposes) = tbs.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
    assert_eq!(
        purposes.0,
        [ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2")]
    );
    let (critical, key) = tbs
        .get_extension::<SubjectKeyIdentifier>()
        .unwrap()
        .unwrap();
    assert!(!critical && key.0.as_bytes().len() == 20);
    openssl_shows(
        path,
        &[
            &format!("Subject: CN = {common_name}"),
            "TLS Web Client Authentication",
            "X509v3 Subject Key Identifier:",
        ],
    );
}

/// Made within the last ten minutes, which the slowest machine needs less of.
fn assert_recent(not_before: Time, backdate: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let begins = not_before.to_unix_duration() + backdate;
    let tolerance = Duration::from_secs(600);
    assert!(
        begins <= now && now - begins < tolerance,
        "{begins:?} is not about {now:?}"
    );
}

const CHALLENGE: &str = "hunter2-is-my-challenge";

fn attributes_of_requests_are_wishes_and_secrets_stay_out(signer: Signer) {
    let factory = Factory::new(signer);
    let wishes = factory.file(
        "wishes.cnf",
        format!(
            "[req]\ndistinguished_name = dn\nattributes = attributes\nreq_extensions = ext\n\
             prompt = no\n[dn]\nCN = wishful\nserialNumber = SN-wishful\n[attributes]\n\
             challengePassword = {CHALLENGE}\nunstructuredName = left out\n[ext]\n\
             subjectAltName = DNS:bank.example\nextendedKeyUsage = serverAuth,codeSigning\n\
             keyUsage = keyEncipherment\nbasicConstraints = CA:FALSE\n"
        ),
    );
    let key = factory.file("wishful.key", "");
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &key,
    ]);
    let made = openssl(&["req", "-new", "-config", &wishes, "-key", &key]);
    let csr = from_pem(&made.stdout);
    assert!(
        contains(&csr, CHALLENGE) && contains(&csr, "bank.example"),
        "the request has them"
    );

    let engine = factory.open();
    let issued = engine.issue(Request::new(csr.clone(), "idevid")).unwrap();
    let path: PathBuf = factory
        .file("wishful.pem", issued.certificate.to_pem())
        .into();
    openssl_verifies(&factory, &path, None);
    check_idevid(
        &factory,
        issued.certificate.as_der(),
        &csr,
        "SN-wishful",
        &path,
    );

    // Requests that fail say nothing of it either.
    let (own, other) = (Key::generate(), Key::generate());
    let subject = name(&[(SERIAL_NUMBER, Tag::PrintableString, "SN-2")]);
    let challenge = challenge_password(CHALLENGE);
    let failing = [
        other.sign(&own.info(subject.clone(), std::slice::from_ref(&challenge))),
        own.request_with(name(&[]), std::slice::from_ref(&challenge)),
        own.request_with(
            subject.clone(),
            &[challenge.clone(), crate::requests::wants_to_be_a_ca()],
        ),
        [csr.clone(), vec![0]].concat(),
    ];
    for csr in failing {
        let rejection = rejection(engine.issue(Request::new(csr, "idevid")));
        assert!(!format!("{rejection} {rejection:?}").contains(CHALLENGE));
    }
    let signed = own.request_with(subject, &[challenge]);
    engine.issue(Request::new(signed, "idevid")).unwrap();
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), 2);
    for file in fs::read_dir(factory.log().join("segments")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(
            !contains(&bytes, CHALLENGE),
            "the challenge password is in the log"
        );
        assert!(!contains(&bytes, "bank.example"));
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
