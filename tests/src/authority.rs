//! Throw-away CAs, and good certificates that the engine issued: what faults are put into.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use birthmark::ceremony::{self, CaPlan};
use birthmark_engine::lint::{Finding, IssuerView, Options, lint};
use birthmark_engine::profile::ReadyMade;
use birthmark_engine::{Configuration, Engine, Profile, Request};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;
use tempfile::TempDir;

use crate::der_tree::{Node, tag};

/// The seed of the devices' keys.
const DEVICE_SEED: u64 = 61;

/// The attribute type of Matter's vendor identifier.
pub const MATTER_VENDOR: &str = "1.3.6.1.4.1.37244.2.1";

/// A CA's key, read from its file.
pub enum AuthorityKey {
    /// ECDSA on P-256 with SHA-256.
    P256(EcdsaKeyPair),
    /// RSA, PKCS #1 v1.5 with SHA-256.
    Rsa(RsaKeyPair),
}

impl AuthorityKey {
    /// Reads a PKCS#8 key in PEM.
    fn read(path: &Path) -> AuthorityKey {
        let pkcs8 = from_pem(&fs::read_to_string(path).unwrap());
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8) {
            Ok(key) => AuthorityKey::P256(key),
            Err(_) => AuthorityKey::Rsa(RsaKeyPair::from_pkcs8(&pkcs8).unwrap()),
        }
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            AuthorityKey::P256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            AuthorityKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// A CA in a directory that is gone when dropped.
pub struct Authority {
    directory: TempDir,
    /// The issuing key.
    pub key: AuthorityKey,
    /// The root's key.
    pub root_key: AuthorityKey,
}

impl Authority {
    /// Makes a CA with a root and an issuing key of this kind, P-256 or RSA.
    #[must_use]
    pub fn new(algorithm: KeyAlgorithm) -> Authority {
        let directory = tempfile::tempdir().unwrap();
        let subject = "C=DE,O=Acme,CN=Acme Issuing CA".parse().unwrap();
        let mut plan = CaPlan::new(directory.path().join("ca"), subject);
        plan.algorithm = algorithm;
        plan.origin = Some("acme.example/log".to_owned());
        let created = ceremony::create(&plan).unwrap();
        Authority {
            key: AuthorityKey::read(&created.issuing_key.unwrap()),
            root_key: AuthorityKey::read(&created.root_key.unwrap()),
            directory,
        }
    }

    /// The same, with an issuing certificate that is changed and signed again by the root.
    #[must_use]
    pub fn with_issuing_certificate(
        algorithm: KeyAlgorithm,
        change: impl FnOnce(&mut Node),
    ) -> Authority {
        let authority = Authority::new(algorithm);
        let mut issuing = Node::parse(&authority.issuing_certificate());
        change(&mut issuing);
        let signature = authority.root_key.sign(&issuing[0].encode());
        issuing[2] = Node::bits(0, &signature);
        let pem = to_pem("CERTIFICATE", &issuing.encode());
        fs::write(authority.issuing_certificate_file(), pem).unwrap();
        authority
    }

    /// A CA of Matter's vendor FFF1, as a PAI is.
    #[must_use]
    pub fn matter() -> Authority {
        let vendor = Node::set([Node::sequence([
            Node::oid(MATTER_VENDOR),
            Node::string(tag::UTF8_STRING, "FFF1"),
        ])]);
        Authority::with_issuing_certificate(KeyAlgorithm::EcP256, |issuing| {
            issuing[0][5].push(vendor);
        })
    }

    /// Path of a file of the CA.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("ca").join(name)
    }

    /// The issuing certificate, PEM.
    #[must_use]
    pub fn issuing_certificate_file(&self) -> PathBuf {
        self.path("issuing-ca.pem")
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_certificate_file(&self) -> PathBuf {
        self.path("root/root-ca.pem")
    }

    /// The issuing certificate, DER.
    #[must_use]
    pub fn issuing_certificate(&self) -> Vec<u8> {
        from_pem(&fs::read_to_string(self.issuing_certificate_file()).unwrap())
    }

    /// The root certificate, DER.
    #[must_use]
    pub fn root_certificate(&self) -> Vec<u8> {
        from_pem(&fs::read_to_string(self.root_certificate_file()).unwrap())
    }

    /// Writes a profile's file and adds it to the configuration.
    pub fn add_profile(&self, name: &str, text: &str) {
        fs::write(self.path(&format!("profiles/{name}.toml")), text).unwrap();
        let configuration = self.path("birthmark.toml");
        let before = fs::read_to_string(&configuration).unwrap();
        let more = format!("profiles = [\"profiles/{name}.toml\", ");
        fs::write(&configuration, before.replace("profiles = [", &more)).unwrap();
    }

    /// Adds a ready-made profile to the configuration.
    ///
    /// # Panics
    ///
    /// If there is none of this name.
    pub fn add_ready_made(&self, name: &str) {
        self.add_profile(name, ReadyMade::by_name(name).unwrap().toml);
    }

    /// Lets a profile take every kind of device key, as often as a device comes.
    pub fn accept_every_key(&self, profile: &str) {
        let path = self.path(&format!("profiles/{profile}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("algorithms = "))
            .unwrap();
        let every = "algorithms = [\"p256\", \"p384\", \"p521\", \"ed25519\", \"rsa\", \"rsa-pss\", \
                     \"ml-dsa-44\", \"ml-dsa-65\", \"ml-dsa-87\"]";
        fs::write(&path, text.replace(line, every)).unwrap();
    }

    /// The engine of this CA.
    #[must_use]
    pub fn open(&self) -> Engine {
        let configuration = Configuration::load(&self.path("birthmark.toml")).unwrap();
        let mut station = configuration.station().unwrap();
        station.log_options.segment_bytes = 1 << 20;
        Engine::open(station).unwrap()
    }

    /// What the linter finds about a certificate that the issuing key signed, told its issuer and its profile.
    #[must_use]
    pub fn lint(&self, profile: &str, certificate: &[u8]) -> Vec<Finding> {
        let profile = Profile::read(&self.path(&format!("profiles/{profile}.toml"))).unwrap();
        lint_by(&self.issuing_certificate(), Some(&profile), certificate)
    }

    /// Has the engine issue one certificate.
    #[must_use]
    pub fn issue(&self, engine: &Engine, profile: &str, csr: Vec<u8>) -> Vec<u8> {
        let issued = engine.issue(Request::new(csr, profile)).unwrap();
        issued.certificate.as_der().to_vec()
    }
}

/// The profile of [`Base::MatterDacMarks`].
const MARKS: &str = "matter-dac-marks";
const PROFILE_WITH_MARKS: &str = r#"
name = "matter-dac-marks"
base = "matter-dac"
identity_domain = "marks"
identity = "{csr.subject.CN}"

[[subject]]
type = "CN"
value = "{csr.subject.CN} Mvid:FFF1 Mpid:8000"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#;

/// The kinds of good certificates that faults are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// `idevid` for a P-256 key, by a P-256 issuer.
    Idevid,
    /// `tls-client` for a P-256 key, by the same issuer.
    TlsClient,
    /// `tls-client` for an RSA key, by an RSA issuer that expires in 2060.
    TlsClientRsa,
    /// `idevid` for an Ed25519 key.
    IdevidEd25519,
    /// `idevid` for an ML-DSA-44 key.
    IdevidMlDsa,
    /// The issuing certificate itself, by its root.
    IssuingCa,
    /// `matter-dac`, by an issuer with Matter's vendor FFF1 in its name.
    MatterDac,
    /// The same with vendor and product as marks inside the common name.
    MatterDacMarks,
}

impl Base {
    /// Every base.
    pub const ALL: [Base; 8] = [
        Base::Idevid,
        Base::TlsClient,
        Base::TlsClientRsa,
        Base::IdevidEd25519,
        Base::IdevidMlDsa,
        Base::IssuingCa,
        Base::MatterDac,
        Base::MatterDacMarks,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Base::Idevid => "idevid",
            Base::TlsClient => "tls-client",
            Base::TlsClientRsa => "tls-client-rsa",
            Base::IdevidEd25519 => "idevid-ed25519",
            Base::IdevidMlDsa => "idevid-ml-dsa-44",
            Base::IssuingCa => "issuing-ca",
            Base::MatterDac => "matter-dac",
            Base::MatterDacMarks => MARKS,
        }
    }

    /// The profile it was issued by; none for the CA's own certificate.
    #[must_use]
    pub fn profile(self) -> Option<&'static str> {
        match self {
            Base::Idevid | Base::IdevidEd25519 | Base::IdevidMlDsa => Some("idevid"),
            Base::TlsClient | Base::TlsClientRsa => Some("tls-client"),
            Base::IssuingCa => None,
            Base::MatterDac => Some("matter-dac"),
            Base::MatterDacMarks => Some(MARKS),
        }
    }

    fn device_key(self) -> KeyAlgorithm {
        match self {
            Base::Idevid
            | Base::TlsClient
            | Base::IssuingCa
            | Base::MatterDac
            | Base::MatterDacMarks => KeyAlgorithm::EcP256,
            Base::TlsClientRsa => KeyAlgorithm::Rsa2048,
            Base::IdevidEd25519 => KeyAlgorithm::Ed25519,
            Base::IdevidMlDsa => KeyAlgorithm::MlDsa44,
        }
    }
}

/// A good certificate of every kind, with those who issued them.
pub struct World {
    p256: Authority,
    rsa: Authority,
    matter: Authority,
    good: Vec<(Base, Vec<u8>)>,
}

impl World {
    /// Makes the CAs and has them issue.
    #[must_use]
    pub fn new() -> World {
        let p256 = Authority::new(KeyAlgorithm::EcP256);
        let rsa = Authority::with_issuing_certificate(KeyAlgorithm::Rsa2048, |issuing| {
            issuing[0][4][1] = Node::string(tag::GENERALIZED_TIME, "20600101000000Z");
        });
        p256.accept_every_key("idevid");
        let matter = Authority::matter();
        matter.add_ready_made("matter-dac");
        matter.add_profile(MARKS, PROFILE_WITH_MARKS);
        let engines = [&p256, &rsa, &matter].map(Authority::open);
        let mut good = Vec::new();
        for (number, base) in Base::ALL.into_iter().enumerate() {
            let (authority, engine) = match base {
                Base::TlsClientRsa => (&rsa, &engines[1]),
                Base::MatterDac | Base::MatterDacMarks => (&matter, &engines[2]),
                _ => (&p256, &engines[0]),
            };
            let der = match base.profile() {
                None => authority.issuing_certificate(),
                Some(profile) => {
                    let device = Device::make(base.device_key(), DEVICE_SEED, number as u64);
                    let csr = device.unwrap().request().unwrap();
                    authority.issue(engine, profile, csr)
                }
            };
            good.push((base, der));
        }
        for engine in engines {
            engine.close().unwrap();
        }
        World {
            p256,
            rsa,
            matter,
            good,
        }
    }

    /// The good certificate of a kind, DER.
    #[must_use]
    pub fn good(&self, base: Base) -> &[u8] {
        let found = self.good.iter().find(|(kind, _)| *kind == base);
        &found.unwrap().1
    }

    /// The CA behind a kind.
    #[must_use]
    pub fn authority(&self, base: Base) -> &Authority {
        match base {
            Base::TlsClientRsa => &self.rsa,
            Base::MatterDac | Base::MatterDacMarks => &self.matter,
            _ => &self.p256,
        }
    }

    /// The key that signs certificates of a kind.
    #[must_use]
    pub fn issuer_key(&self, base: Base) -> &AuthorityKey {
        match base {
            Base::IssuingCa => &self.authority(base).root_key,
            _ => &self.authority(base).key,
        }
    }
}

impl World {
    /// What the linter finds about a certificate of a kind, told its issuer and its profile.
    #[must_use]
    pub fn lint(&self, base: Base, certificate: &[u8]) -> Vec<Finding> {
        match base.profile() {
            Some(profile) => self.authority(base).lint(profile, certificate),
            None => {
                let root = self.authority(base).root_certificate();
                lint_by(&root, None, certificate)
            }
        }
    }
}

/// What the linter finds, told the issuer and the profile.
fn lint_by(issuer: &[u8], profile: Option<&Profile>, certificate: &[u8]) -> Vec<Finding> {
    let issuer = IssuerView::from_der(issuer).unwrap();
    let options = Options {
        issuer: Some(&issuer),
        profile,
        ..Options::default()
    };
    lint(certificate, &options)
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

/// The bytes of the first PEM block.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn from_pem(text: &str) -> Vec<u8> {
    der::pem::decode_vec(text.as_bytes()).unwrap().1
}

/// One PEM block.
#[must_use]
pub fn to_pem(label: &'static str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap()
}
