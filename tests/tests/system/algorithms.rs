//! Every kind of issuing key certifies every kind of device key, and other software verifies what comes
//! out: issuer and device choose their algorithms freely.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use birthmark_engine::record::Record;
use birthmark_engine::{
    Configuration, Engine, IssueStatus, Issuer, MAX_IN_FLIGHT_DEFAULT, Rejection, Request,
    verify_issued,
};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use birthmark_log::LogReader;
use der::asn1::{Any, AnyRef, BitString, Null, ObjectIdentifier};
use der::{Decode, DecodePem, Encode};
use ml_dsa::{EncodedSignature, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, VerifyingKey};
use x509_cert::Certificate;
use x509_cert::request::CertReq;
use x509_cert::spki::{
    AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};

use crate::certificates::openssl_verifies;
use crate::requests::{device, device_of, from_pem, openssl, pem};
use crate::station::{Factory, Random, Signer, rejection};

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
struct Device {
    name: String,
    csr: Vec<u8>,
}

/// Devices of every kind: the load generator's, and some of openssl's. Their keys are made once for all
/// tests.
fn devices() -> &'static [Device] {
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

const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const RSA_PSS: &[&str] = &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"];

/// openssl's request for a new key; `options` are those of `openssl req`.
fn openssl_request(name: &str, key_options: &[&str], options: &[&str]) -> Vec<u8> {
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
        ["ca/root/root-ca.pem", "ca/issuing-ca.pem"].map(|ca| read(&factory.path(ca)));
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
fn ml_dsa_verifies(
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
    }
}

#[test]
fn pss_requests_with_other_parameters_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let pss = |hash: &'static str, mask: &'static str, salt: &'static str| {
        let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", mask];
        [&[hash][..], &padding, &["-sigopt", salt]].concat()
    };
    let (mask, salt) = ("rsa_mgf1_md:sha256", "rsa_pss_saltlen:32");
    let keygen = |option| {
        [
            RSA_PSS,
            &["-pkeyopt", "rsa_pss_keygen_md:sha256"],
            &["-pkeyopt", option],
        ]
        .concat()
    };
    let signed_otherwise = [
        (
            RSA,
            pss("-sha384", "rsa_mgf1_md:sha384", "rsa_pss_saltlen:48"),
            "SHA-256",
        ),
        (RSA, pss("-sha256", "rsa_mgf1_md:sha512", salt), "MGF1"),
        (
            RSA,
            pss("-sha1", "rsa_mgf1_md:sha1", "rsa_pss_saltlen:20"),
            "SHA-256",
        ),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:0"), "salt"),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:20"), "salt"),
        (RSA, pss("-sha256", mask, "rsa_pss_saltlen:222"), "salt"),
        (
            &keygen("rsa_pss_keygen_saltlen:64"),
            vec!["-sha256"],
            "salt",
        ),
    ];
    for (key, options, word) in signed_otherwise {
        let csr = openssl_request("otherwise", key, &options);
        let refused = rejection(engine.issue(Request::new(csr, "idevid")));
        assert!(
            matches!(refused, Rejection::PssParameters(_)),
            "{options:?}: {refused:?}"
        );
        assert_eq!(
            (refused.number(), refused.reason()),
            (202, "pss-parameters")
        );
        assert!(refused.to_string().contains(word), "{options:?}: {refused}");
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// A salt of another length than the parameters say, and PKCS #1 v1.5 of a key that is restricted to PSS.
#[test]
fn pss_requests_that_are_not_what_they_say_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    // saltLength 32 becomes 31 or 33 in the parameters alone; then 32 over a signature with 20.
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt"];
    let request = |salt| openssl_request("salt", RSA, &[&pss[..], &[salt]].concat());
    let salt_field = |bytes: u8| [0xa2, 0x03, 0x02, 0x01, bytes];
    let mut csr = request("rsa_pss_saltlen:33");
    let at = find(&csr, &salt_field(33));
    csr[at + 4] = 32;
    let refused = rejection(engine.issue(Request::new(csr, "idevid")));
    assert_eq!(refused, Rejection::ProofOfPossession);

    // A restricted key's own SubjectPublicKeyInfo with sha256WithRSAEncryption.
    let csr = openssl_request(
        "restricted",
        RSA_PSS,
        &["-sha256", "-sigopt", "rsa_pss_saltlen:32"],
    );
    let request = CertReq::from_der(&csr).unwrap();
    let pkcs1 = CertReq {
        algorithm: AlgorithmIdentifierOwned {
            oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11"),
            parameters: Some(Any::from(AnyRef::from(Null))),
        },
        ..request
    };
    let csr = pkcs1.to_der().unwrap();
    let refused = rejection(engine.issue(Request::new(csr, "idevid")));
    assert_eq!(refused, Rejection::SignatureAlgorithm);
    engine.close().unwrap();
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    let mut places = bytes.windows(part.len());
    places.position(|window| window == part).unwrap()
}

/// One RSA key in both of its forms is one key; and a policy names the forms apart.
#[test]
fn a_restriction_to_pss_makes_no_other_key() {
    let factory = Factory::new(Signer::P256);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (restricted, plain) = (path("restricted"), path("plain"));
    openssl(&[&["genpkey", "-out", &restricted], RSA_PSS].concat());
    // The same PKCS#8 with rsaEncryption and NULL in place of id-RSASSA-PSS, so two octets longer.
    let pkcs8 = openssl(&["pkey", "-in", &restricted, "-outform", "DER"]).stdout;
    let [0x30, 0x82, high, low, body @ ..] = &pkcs8[..] else {
        panic!("not the PKCS#8 of an RSA key")
    };
    let length = u16::from_be_bytes([*high, *low]) + 2;
    let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    let at = find(body, &oid);
    let (before, after) = (&body[..at - 2], &body[at + 11..]);
    let algorithm = [&[0x30, 0x0d], &oid[..], &[0x01, 0x05, 0x00]].concat();
    let header = [&[0x30, 0x82][..], &length.to_be_bytes()].concat();
    let pkcs8 = [&header, before, &algorithm, after].concat();
    fs::write(&plain, pem("PRIVATE KEY", &pkcs8)).unwrap();
    let request = |key: &str, serial: &str| {
        let made = openssl(&["req", "-new", "-key", key, "-subj", serial]);
        Request::new(from_pem(&made.stdout), "idevid")
    };
    let pss = ["-sha256", "-sigopt", "rsa_pss_saltlen:32"];
    let engine = factory.open();
    let made = openssl(
        &[
            &[
                "req",
                "-new",
                "-key",
                &restricted,
                "-subj",
                "/serialNumber=1",
            ],
            &pss[..],
        ]
        .concat(),
    );
    let csr = from_pem(&made.stdout);
    let refused = rejection(engine.issue(Request::new(csr.clone(), "idevid")));
    assert!(refused.to_string().contains("RSA-PSS"), "{refused}");
    assert_eq!(refused.reason(), "key-not-allowed");
    engine.close().unwrap();

    accept_every_key(&factory);
    let engine = factory.open();
    engine.issue(Request::new(csr, "idevid")).unwrap();
    let refused = rejection(engine.issue(request(&plain, "/serialNumber=2")));
    assert_eq!(refused.reason(), "key-in-use");
    engine.close().unwrap();
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

const ML_DSA: [KeyAlgorithm; 3] = [
    KeyAlgorithm::MlDsa44,
    KeyAlgorithm::MlDsa65,
    KeyAlgorithm::MlDsa87,
];

/// The load generator's requests are what another implementation verifies; what is changed in them is
/// refused with its reason.
#[test]
fn ml_dsa_requests_that_are_not_as_they_should_be_are_refused() {
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let reason = |csr: Vec<u8>| rejection(engine.issue(Request::new(csr, "idevid"))).reason();
    for (algorithm, other) in ML_DSA.into_iter().zip([1, 2, 0].map(|next| ML_DSA[next])) {
        let request = CertReq::from_der(&device_of(algorithm, 0)).unwrap();
        let other = CertReq::from_der(&device_of(other, 0)).unwrap();
        let signed = request.info.to_der().unwrap();
        let signature = request.signature.as_bytes().unwrap();
        ml_dsa_verifies(
            &request.info.public_key,
            &request.algorithm,
            &signed,
            signature,
        );
        let changed = |change: &dyn Fn(&mut CertReq)| {
            let mut request = request.clone();
            change(&mut request);
            reason(request.to_der().unwrap())
        };
        let null = Some(Any::from(AnyRef::from(Null)));

        // Parameters, of the key and of the signature (RFC 9881 §2).
        assert_eq!(
            changed(&|r| r.algorithm.parameters = null.clone()),
            "signature-algorithm"
        );
        assert_eq!(
            changed(&|r| r.info.public_key.algorithm.parameters = null.clone()),
            "malformed"
        );
        // Another parameter set's identifier.
        assert_eq!(
            changed(&|r| r.algorithm = other.algorithm.clone()),
            "signature-algorithm"
        );
        let identifier = &other.info.public_key.algorithm;
        assert_eq!(
            changed(&|r| r.info.public_key.algorithm = identifier.clone()),
            "key-unsupported"
        );
        // The pre-hashed form, id-hash-ml-dsa-44-with-sha512 and its neighbors, is not the pure one.
        let hashed = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.32");
        assert_eq!(
            changed(&|r| r.algorithm.oid = hashed),
            "signature-algorithm"
        );

        // Keys and signatures that are cut or longer.
        let key = request
            .info
            .public_key
            .subject_public_key
            .as_bytes()
            .unwrap();
        let longer = |bytes: &[u8]| BitString::from_bytes(&[bytes, &[0]].concat()).unwrap();
        let cut = |bytes: &[u8]| BitString::from_bytes(&bytes[1..]).unwrap();
        for key in [longer(key), cut(key), BitString::from_bytes(&[]).unwrap()] {
            let change = |r: &mut CertReq| r.info.public_key.subject_public_key = key.clone();
            assert_eq!(changed(&change), "key-unsupported");
        }
        for signature in [
            longer(signature),
            cut(signature),
            BitString::from_bytes(&[]).unwrap(),
        ] {
            assert_eq!(
                changed(&|r| r.signature = signature.clone()),
                "proof-of-possession"
            );
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
}

/// A bit of the key or of the signature, wherever it is.
#[test]
fn requests_with_a_flipped_bit_are_refused() {
    const FLIPS: u64 = 60;
    const SEED: u64 = 9881;
    let factory = Factory::new(Signer::P256);
    accept_every_key(&factory);
    let engine = factory.open();
    let mut random = Random::new(SEED);
    for device in devices() {
        let request = CertReq::from_der(&device.csr).unwrap();
        let key = request
            .info
            .public_key
            .subject_public_key
            .as_bytes()
            .unwrap();
        let signature = request.signature.as_bytes().unwrap();
        for flip in 0..FLIPS {
            let mut csr = device.csr.clone();
            let part = if flip % 2 == 0 { key } else { signature };
            let at = find(&csr, part) + random.below(part.len() as u64) as usize;
            csr[at] ^= 1 << random.below(8);
            let refused = rejection(engine.issue(Request::new(csr, "idevid")));
            assert!(
                matches!(
                    refused,
                    Rejection::ProofOfPossession
                        | Rejection::KeyUnsupported(_)
                        | Rejection::RsaPolicy(_)
                        | Rejection::Malformed(_)
                ),
                "{} (seed {SEED}): octet {at}: {refused:?}",
                device.name
            );
        }
    }
    assert_eq!(engine.log().len(), 0);
    engine.close().unwrap();
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
