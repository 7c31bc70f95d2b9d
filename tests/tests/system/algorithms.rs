//! Every kind of issuing key certifies every kind of device key, and other software verifies what comes
//! out: issuer and device choose their algorithms freely.

use std::fs;
use std::sync::OnceLock;

use birthmark_engine::record::Record;
use birthmark_engine::{Configuration, Engine, IssueStatus, Request, verify_issued};
use birthmark_hsm::KeyAlgorithm;
use birthmark_log::LogReader;

use crate::certificates::openssl_verifies;
use crate::requests::{device_of, from_pem, openssl};
use crate::station::{Factory, Signer};

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
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], &[&str]); 1] = [(
        "openssl-p521",
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
        &["-sha512"],
    )];
    let make = |(name, key_options, options): (&str, &[&str], &[&str])| {
        let key = directory.path().join(name);
        let key = key.to_str().unwrap();
        openssl(&[&["genpkey", "-out", key], key_options].concat());
        let subject = format!("/serialNumber=SN-{name}");
        let made = openssl(&[&["req", "-new", "-key", key, "-subj", &subject], options].concat());
        Device {
            name: name.to_owned(),
            csr: from_pem(&made.stdout),
        }
    };
    cases.into_iter().map(make).collect()
}

/// The kinds of keys that a profile can accept.
const KEY_POLICY: &str = r#"algorithms = ["p256", "p384", "p521", "ed25519", "rsa"]"#;

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
        openssl_verifies(&factory, &path, None);

        // The same device again, with a fresh signature or the same bytes: the same certificate.
        let again = engine.issue(Request::new(device.csr.clone(), "idevid"));
        let again = again.unwrap();
        assert_eq!(again.status, IssueStatus::Existing, "{}", device.name);
        assert_eq!(again.certificate, issued.certificate);
    }
    close_and_audit(&factory, engine);
}

/// An auditor who has the issuer certificate alone finds every record sound.
fn close_and_audit(factory: &Factory, engine: Engine) {
    engine.close().unwrap();
    assert_eq!(factory.assert_sound().len(), devices().len());
    let issuer = Configuration::load(&factory.configuration())
        .unwrap()
        .issuer()
        .unwrap();
    let reader = LogReader::open(&factory.log()).unwrap();
    for entry in reader.iter() {
        let (index, bytes) = entry.unwrap();
        let Record::Issued(record) = Record::decode(&bytes).unwrap() else {
            panic!("{index:?} is no certificate")
        };
        verify_issued(&record, &issuer).unwrap();
    }
}
