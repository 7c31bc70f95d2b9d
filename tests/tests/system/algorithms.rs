//! Every kind of issuing key certifies every kind of device key, and other software verifies what comes
//! out: issuer and device choose their algorithms freely.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use birthmark_engine::record::{IssuedRecord, Record};
use birthmark_engine::{
    Configuration, Engine, IssueStatus, Issuer, MAX_IN_FLIGHT_DEFAULT, Request, verify_issued,
};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use birthmark_log::LogReader;
use der::{DecodePem, Encode};
use ml_dsa::{EncodedSignature, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, VerifyingKey};
use x509_cert::Certificate;
use x509_cert::spki::{
    AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};

use crate::certificates::openssl_verifies;
use crate::requests::{device, device_of, from_pem, openssl};
use crate::station::{Factory, Signer, write_private};

/// Makes one test per issuing key.
macro_rules! on_issuers {
    ($test:ident: $($name:ident = $signer:expr),+ $(,)?) => { mod $test {
        use birthmark_hsm::KeyAlgorithm::*;
        use crate::station::Signer::*;

        $(
            #[test]
            fn $name() { super::$test($signer); }
        )+
    } };
}

on_issuers!(certifies_every_kind_of_device_key:
    software_p256 = Software(EcP256),
    software_p384 = Software(EcP384),
    software_p521 = Software(EcP521),
    software_ed25519 = Software(Ed25519),
    software_rsa2048 = Software(Rsa2048),
    software_rsa3072 = Software(Rsa3072),
    software_rsa4096 = Software(Rsa4096),
    software_ml_dsa_44 = Software(MlDsa44),
    software_ml_dsa_65 = Software(MlDsa65),
    software_ml_dsa_87 = Software(MlDsa87),
    software_rsa2048_pss = Pss { softhsm: false, algorithm: Rsa2048 },
    software_rsa3072_pss = Pss { softhsm: false, algorithm: Rsa3072 },
    software_rsa4096_pss = Pss { softhsm: false, algorithm: Rsa4096 },
    softhsm_rsa2048_pss = Pss { softhsm: true, algorithm: Rsa2048 },
    softhsm_rsa3072_pss = Pss { softhsm: true, algorithm: Rsa3072 },
    softhsm_rsa4096_pss = Pss { softhsm: true, algorithm: Rsa4096 },
    softhsm_p521 = SoftHsm(EcP521),
    softhsm_rsa3072 = SoftHsm(Rsa3072),
    softhsm_rsa4096 = SoftHsm(Rsa4096),
);

/// A device's request and what it is called.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) csr: Vec<u8>,
}

/// Devices of every kind: the load generator's, and some of openssl's. Their keys are made once for all
/// tests.
pub(crate) fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let own = KeyAlgorithm::ALL.into_iter().zip(9000..);
        let own = own.map(|(algorithm, number)| Device {
            name: algorithm.to_string(),
            csr: device_of(algorithm, number),
        });
        own.chain(openssl_devices()).collect()
    })
}

fn openssl_devices() -> Vec<Device> {
    let pss = ["-sha256", "-sigopt", "rsa_padding_mode:pss"];
    let pss = [&pss[..], &["-sigopt", "rsa_pss_saltlen:32"]].concat();
    let restricted = [RSA_PSS, &["-pkeyopt", "rsa_pss_keygen_md:sha256"]].concat();
    let restricted = [
        &restricted[..],
        &["-pkeyopt", "rsa_pss_keygen_mgf1_md:sha256"],
        &["-pkeyopt", "rsa_pss_keygen_saltlen:32"],
    ];
    let p521 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    [
        ("openssl-p521", &p521[..], &["-sha512"][..]),
        ("openssl-rsa-signs-pss", RSA, &pss),
        ("openssl-rsa-pss", RSA_PSS, &pss),
        ("openssl-rsa-pss-restricted", &restricted.concat(), &[]),
    ]
    .map(|(name, key, options)| Device {
        name: name.to_owned(),
        csr: openssl_request(name, key, options),
    })
    .into()
}

pub(crate) const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const RSA_PSS: &[&str] = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];

/// openssl's request for a new key; `options` are those of `openssl req`.
pub(crate) fn openssl_request(name: &str, key_options: &[&str], options: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    let key = key.to_str().unwrap();
    openssl(&[&["genpkey", "-out", key], key_options].concat());
    let subject = format!("/serialNumber=SN-{name}");
    let made = openssl(&[&["req", "-new", "-key", key, "-subj", &subject], options].concat());
    from_pem(&made.stdout)
}

/// The kinds of keys that a profile can accept.
const KEY_POLICY: &str = r#"algorithms = ["p256", "p384", "p521", "ed25519", "rsa", "rsa-pss",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]"#;

/// Lets the IDevID profile take every kind of key.
pub(crate) fn accept_every_key(factory: &Factory) {
    let path = factory.path("ca/profiles/idevid.toml");
    let profile = fs::read_to_string(&path).unwrap();
    let policy = profile
        .lines()
        .find(|line| line.starts_with("algorithms ="))
        .unwrap();
    fs::write(&path, profile.replace(policy, KEY_POLICY)).unwrap();
}

fn certifies_every_kind_of_device_key(signer: Signer) {
    let factory = Factory::new(signer);
    accept_every_key(&factory);
    let engine = factory.open();
    for device in devices() {
        let issued = engine
            .issue(Request::new(device.csr.clone(), "idevid"))
            .unwrap_or_else(|error| panic!("{}: {error}", device.name));
        assert_eq!(issued.status, IssueStatus::Issued, "{}", device.name);
        let path = factory.path(&format!("{}.pem", device.name));
        fs::write(&path, issued.certificate.to_pem()).unwrap();
        verifies_independently(&factory, &path);

        // The same device again, with a fresh signature or the same bytes: the same certificate.
        let again = engine.issue(Request::new(device.csr.clone(), "idevid"));
        let again = again.unwrap();
        assert_eq!(again.status, IssueStatus::Existing, "{}", device.name);
        assert_eq!(again.certificate, issued.certificate);
    }
    engine.close().unwrap();
    audit(&factory, devices().len());
}

/// openssl verifies the chain. What it does not know verifies another implementation: the signatures of an
/// ML-DSA issuer on the certificate and of the root on the issuer's.
fn verifies_independently(factory: &Factory, path: &Path) {
    if factory.signer.algorithm().ml_dsa().is_none() {
        return if path.to_str().unwrap().contains("ml-dsa") {
            openssl_verifies_signature(factory, path)
        } else {
            openssl_verifies(factory, path, None)
        };
    }
    let read = |path: &Path| Certificate::from_pem(fs::read(path).unwrap()).unwrap();
    let [root, issuing] =
        ["root/root-ca.pem", "issuing-ca.pem"].map(|file| read(&factory.path("ca").join(file)));
    for (certificate, issuer) in [(&read(path), &issuing), (&issuing, &root), (&root, &root)] {
        let key = issuer.tbs_certificate().subject_public_key_info();
        assert_eq!(
            certificate.tbs_certificate().signature(),
            certificate.signature_algorithm()
        );
        ml_dsa_verifies(
            key,
            certificate.signature_algorithm(),
            &certificate.tbs_certificate().to_der().unwrap(),
            certificate.signature().as_bytes().unwrap(),
        );
    }
}

/// `openssl verify` refuses a key that it cannot read, also at the end of a chain: the signature alone.
fn openssl_verifies_signature(factory: &Factory, path: &Path) {
    let certificate = Certificate::from_pem(fs::read(path).unwrap()).unwrap();
    let tbs = certificate.tbs_certificate();
    assert_eq!(tbs.signature(), certificate.signature_algorithm());
    let signature = certificate.signature().as_bytes().unwrap();
    let (message, signature) = (
        factory.file("tbs", tbs.to_der().unwrap()),
        factory.file("signature", signature),
    );
    let issuing = factory.path("ca/issuing-ca.pem");
    let key = openssl(&[
        "x509",
        "-noout",
        "-pubkey",
        "-in",
        issuing.to_str().unwrap(),
    ]);
    let key = factory.file("issuing.pub", key.stdout);
    let mut arguments = vec![
        "pkeyutl", "-verify", "-pubin", "-inkey", &key, "-rawin", "-in",
    ];
    arguments.extend([&*message, "-sigfile", &signature]);
    let hash = match factory.signer.algorithm() {
        KeyAlgorithm::Ed25519 => None,
        KeyAlgorithm::EcP384 => Some("sha384"),
        KeyAlgorithm::EcP521 => Some("sha512"),
        _ => Some("sha256"),
    };
    arguments.extend(hash.into_iter().flat_map(|hash| ["-digest", hash]));
    if matches!(factory.signer, Signer::Pss { .. }) {
        let options = ["rsa_padding_mode:pss", "rsa_pss_saltlen:32"];
        arguments.extend(options.into_iter().flat_map(|option| ["-pkeyopt", option]));
    }
    openssl(&arguments);
}

/// RFC 9881: one identifier for key and signature, no parameters, and the pure signature with an empty
/// context.
#[track_caller]
pub(crate) fn ml_dsa_verifies(
    key: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    message: &[u8],
    signature: &[u8],
) {
    fn check<P>(spki: &[u8], message: &[u8], signature: &[u8])
    where
        P: MlDsaParams,
        VerifyingKey<P>: for<'a> TryFrom<SubjectPublicKeyInfoRef<'a>, Error: std::fmt::Debug>,
    {
        let spki = SubjectPublicKeyInfoRef::try_from(spki).unwrap();
        let key = VerifyingKey::<P>::try_from(spki).unwrap();
        let signature = EncodedSignature::<P>::try_from(signature).unwrap();
        let signature = ml_dsa::Signature::<P>::decode(&signature).unwrap();
        assert!(key.verify_with_context(message, b"", &signature));
    }
    assert_eq!(algorithm, &key.algorithm);
    assert_eq!(algorithm.parameters, None);
    let spki = key.to_der().unwrap();
    match algorithm.oid.to_string().as_str() {
        "2.16.840.1.101.3.4.3.17" => check::<MlDsa44>(&spki, message, signature),
        "2.16.840.1.101.3.4.3.18" => check::<MlDsa65>(&spki, message, signature),
        "2.16.840.1.101.3.4.3.19" => check::<MlDsa87>(&spki, message, signature),
        other => panic!("{other} is not ML-DSA"),
    }
}

/// An auditor who has the issuer certificate alone finds every record sound.
fn audit(factory: &Factory, records: usize) {
    assert_eq!(factory.assert_sound().len(), records);
    let issuer = Issuer::read(&factory.path("ca/issuing-ca.pem")).unwrap();
    let reader = LogReader::open(&factory.log()).unwrap();
    for entry in reader.iter() {
        let (index, bytes) = entry.unwrap();
        let Record::Issued(record) = Record::decode(&bytes).unwrap() else {
            panic!("{index:?} is no certificate")
        };
        verify_issued(&record, &issuer).unwrap();
        // The signature stands at the end.
        let mut changed = record.certificate.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let certificate = &changed[..];
        let changed = IssuedRecord {
            certificate,
            ..record
        };
        verify_issued(&changed, &issuer).unwrap_err();
    }
}

/// An issuing CA that is set to another form goes on, and all of its certificates stay sound.
#[test]
fn an_issuer_changes_to_pss_and_its_log_stays_sound() {
    let factory = Factory::new(Signer::Software(KeyAlgorithm::Rsa2048));
    let engine = factory.open();
    engine.issue(Request::new(device(0), "idevid")).unwrap();
    engine.close().unwrap();
    let configuration = fs::read_to_string(factory.configuration()).unwrap();
    let set = |signature: &str| {
        let line = format!("[issuer]\nsignature = \"{signature}\"\n");
        let text = configuration.replace("[issuer]\n", &line);
        fs::write(factory.configuration(), text).unwrap();
    };
    set("pss");
    let engine = factory.open();
    let issued = engine.issue(Request::new(device(1), "idevid")).unwrap();
    let path = factory.path("pss.pem");
    fs::write(&path, issued.certificate.to_pem()).unwrap();
    openssl_verifies(&factory, &path, None);
    engine.close().unwrap();
    audit(&factory, 2);

    set("sha1");
    let error = Configuration::load(&factory.configuration()).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("issuer.signature") && shown.contains("pkcs1 or pss"),
        "{shown}"
    );
}

#[test]
fn a_form_that_does_not_fit_the_key_stops_the_start() {
    let factory = Factory::new(Signer::P256);
    let configuration = fs::read_to_string(factory.configuration()).unwrap();
    let text = configuration.replace("[issuer]\n", "[issuer]\nsignature = \"pss\"\n");
    fs::write(factory.configuration(), text).unwrap();
    let error = Configuration::load(&factory.configuration())
        .unwrap()
        .station()
        .err()
        .unwrap();
    let shown = error.to_string();
    assert!(
        shown.contains("issuer.signature") && shown.contains("P-256"),
        "{shown}"
    );

    // Issuer and signer set apart.
    let factory = Factory::new(Signer::Software(KeyAlgorithm::Rsa2048));
    let mut station = factory.station();
    station.issuer = station
        .issuer
        .with_rsa_signature(RsaSignature::Pss)
        .unwrap();
    let error = Engine::open(station).err().unwrap();
    assert!(error.to_string().contains("PKCS #1 v1.5 or PSS"), "{error}");
}

/// A CA whose own key is id-RSASSA-PSS, made by openssl, signs PSS without being told, and nothing else.
#[test]
fn an_issuer_that_is_restricted_to_pss_signs_nothing_else() {
    let factory = Factory::new(Signer::P256);
    let [key, certificate] = ["ca/issuing-ca.key", "ca/issuing-ca.pem"].map(|file| {
        let path = factory.path(file);
        fs::remove_file(&path).unwrap();
        path.into_os_string().into_string().unwrap()
    });
    let made = openssl(&[&["genpkey"], RSA_PSS].concat());
    write_private(Path::new(&key), std::str::from_utf8(&made.stdout).unwrap());
    let subject = ["-subj", "/O=Acme/CN=Acme Restricted CA", "-days", "3650"];
    let usage = ["-addext", "keyUsage=critical,keyCertSign"];
    let self_sign = [
        "req",
        "-x509",
        "-key",
        &key,
        "-out",
        &certificate,
        "-sha256",
    ];
    openssl(
        &[
            &self_sign[..],
            &subject,
            &usage,
            &["-sigopt", "rsa_pss_saltlen:32"],
        ]
        .concat(),
    );

    let engine = factory.open();
    let issued = engine.issue(Request::new(device(0), "idevid")).unwrap();
    let path = factory.file("issued.pem", issued.certificate.to_pem());
    openssl(&[
        "verify",
        "-x509_strict",
        "-no-CApath",
        "-CAfile",
        &certificate,
        &path,
    ]);
    let read = Certificate::from_pem(issued.certificate.to_pem()).unwrap();
    assert_eq!(
        read.signature_algorithm().oid.to_string(),
        "1.2.840.113549.1.1.10"
    );
    engine.close().unwrap();
    audit(&factory, 1);

    let configuration = fs::read_to_string(factory.configuration()).unwrap();
    let told = configuration.replace("[issuer]\n", "[issuer]\nsignature = \"pkcs1\"\n");
    fs::write(factory.configuration(), told).unwrap();
    let refused = Configuration::load(&factory.configuration())
        .unwrap()
        .station();
    let shown = refused.err().unwrap().to_string();
    assert!(
        shown.contains("issuer.signature") && shown.contains("RSA-PSS"),
        "{shown}"
    );
}

/// The largest certificates there are, as many in flight as an engine takes by default: the log holds
/// room for every one of them.
#[test]
fn a_full_engine_of_the_largest_certificates_has_room() {
    let factory = Factory::new(Signer::Software(KeyAlgorithm::MlDsa87));
    accept_every_key(&factory);
    let requests = 0..MAX_IN_FLIGHT_DEFAULT as u64 + 100;
    let count = requests.end as usize;
    let requests: Vec<_> = requests
        .map(|number| Request::new(device_of(KeyAlgorithm::MlDsa87, number), "idevid"))
        .collect();
    let station = Configuration::load(&factory.configuration())
        .unwrap()
        .station()
        .unwrap();
    let engine = Engine::open(station).unwrap();
    for (number, result) in engine.issue_batch(requests).into_iter().enumerate() {
        let issued = result.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(issued.status, IssueStatus::Issued);
    }
    engine.close().unwrap();
    audit(&factory, count);
}
