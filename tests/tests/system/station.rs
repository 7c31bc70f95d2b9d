//! Throw-away CAs: one per test, on each kind of signer.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use birthmark::ceremony::{self, CaPlan, KeyPlace};
use birthmark_engine::record::{DATA_PERMIT, Record};
use birthmark_engine::{
    Configuration, Engine, Fault, IssueError, Issued, LogKey, Rejection, Station,
};
use birthmark_hsm::{KeyAlgorithm, Pkcs11Uri, RsaSignature, initialize_token};
use birthmark_log::{LogReader, Verification, VerifyReport};
use tempfile::TempDir;

/// Small segments, so that tests roll over many of them and fill disks soon. 1 MiB holds what
/// two thousand certificates in flight may reserve together with the next one.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;

/// Names the PKCS#11 module of the tests; set by softhsm/with-softhsm.sh.
const MODULE_VARIABLE: &str = "BIRTHMARK_TEST_MODULE";

/// What holds the issuing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    Software(KeyAlgorithm),
    SoftHsm(KeyAlgorithm),
    /// An RSA key that signs PSS, on a token or not.
    Pss {
        softhsm: bool,
        algorithm: KeyAlgorithm,
    },
    /// P-256, signing with a session copy of the key.
    SoftHsmKeyCopy,
}

impl Signer {
    pub(crate) const P256: Signer = Signer::Software(KeyAlgorithm::EcP256);

    pub(crate) fn algorithm(self) -> KeyAlgorithm {
        match self {
            Signer::Software(algorithm)
            | Signer::SoftHsm(algorithm)
            | Signer::Pss { algorithm, .. } => algorithm,
            Signer::SoftHsmKeyCopy => KeyAlgorithm::EcP256,
        }
    }

    fn on_token(self) -> bool {
        match self {
            Signer::Software(_) => false,
            Signer::Pss { softhsm, .. } => softhsm,
            Signer::SoftHsm(_) | Signer::SoftHsmKeyCopy => true,
        }
    }
}

/// Makes one test per signer of each function `fn(Signer)`.
macro_rules! on_every_signer {
    ($($test:ident),+ $(,)?) => { $(
        mod $test {
            use birthmark_hsm::KeyAlgorithm::{EcP256, EcP384, Ed25519, Rsa2048};
            use $crate::station::Signer;

            #[test]
            fn software_p256() { super::$test(Signer::Software(EcP256)); }
            #[test]
            fn software_p384() { super::$test(Signer::Software(EcP384)); }
            #[test]
            fn software_ed25519() { super::$test(Signer::Software(Ed25519)); }
            #[test]
            fn software_rsa2048() { super::$test(Signer::Software(Rsa2048)); }
            #[test]
            fn softhsm_p256() { super::$test(Signer::SoftHsm(EcP256)); }
            #[test]
            fn softhsm_p256_key_copy() { super::$test(Signer::SoftHsmKeyCopy); }
            #[test]
            fn softhsm_p384() { super::$test(Signer::SoftHsm(EcP384)); }
            #[test]
            fn softhsm_ed25519() { super::$test(Signer::SoftHsm(Ed25519)); }
            #[test]
            fn softhsm_rsa2048() { super::$test(Signer::SoftHsm(Rsa2048)); }
        }
    )+ };
}

/// A PKCS#11 token.
pub(crate) struct Token {
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    pub(crate) pin: String,
    pub(crate) pin_file: PathBuf,
    keys: AtomicU32,
    _directory: TempDir,
}

impl Token {
    /// The token of this test process, made when it is first asked for. Each CA of a test that
    /// stays within this process has a key of its own on it.
    fn shared() -> &'static Arc<Token> {
        static TOKEN: OnceLock<Arc<Token>> = OnceLock::new();
        TOKEN.get_or_init(|| Arc::new(Token::initialize()))
    }

    fn initialize() -> Token {
        let module = PathBuf::from(std::env::var_os(MODULE_VARIABLE).unwrap_or_else(|| {
            panic!("{MODULE_VARIABLE} is not set: run `make test`, or softhsm/with-softhsm.sh cargo test -p birthmark-tests")
        }));
        // The directory's random name makes the label unique among all runs.
        let directory = tempfile::Builder::new()
            .prefix("bm-")
            .rand_bytes(16)
            .tempdir()
            .unwrap();
        let label = directory
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let pin = format!("pin-of-{}", &label[3..]);
        let pin_file = directory.path().join("pin");
        write_private(&pin_file, &pin);
        initialize_token(&module, &label, "security-officer-pin", &pin).unwrap();
        Token {
            module,
            label,
            pin,
            pin_file,
            keys: AtomicU32::new(0),
            _directory: directory,
        }
    }

    fn next_key(&self) -> String {
        format!("issuing-{}", self.keys.fetch_add(1, Ordering::Relaxed))
    }
}

/// SoftHSM does not keep finding and creating objects apart: tokens and keys are made one after
/// another.
static TOKEN_SETUP: Mutex<()> = Mutex::new(());

/// A CA in a directory that is gone when dropped.
pub(crate) struct Factory {
    directory: TempDir,
    pub(crate) signer: Signer,
    token: Option<Arc<Token>>,
}

impl Factory {
    /// For a test that stays within this process.
    pub(crate) fn new(signer: Signer) -> Factory {
        let token = signer.on_token().then(|| Token::shared().clone());
        Factory::with_token(signer, token)
    }

    /// For a test that runs the binary: SoftHSM does not take kindly to one process that makes
    /// keys on a token while another one looks for its own there.
    pub(crate) fn for_binary(signer: Signer) -> Factory {
        let guard = TOKEN_SETUP.lock().unwrap_or_else(PoisonError::into_inner);
        let token = signer.on_token().then(|| Arc::new(Token::initialize()));
        drop(guard);
        Factory::with_token(signer, token)
    }

    fn with_token(signer: Signer, token: Option<Arc<Token>>) -> Factory {
        let factory = Factory {
            directory: tempfile::tempdir().unwrap(),
            signer,
            token,
        };
        factory.perform_ceremony();
        factory
    }

    /// A CA whose P-256 key is on several tokens: made on the first, and on the others already.
    pub(crate) fn on_tokens(tokens: &[Pkcs11Uri], limits: &str) -> Factory {
        let factory = Factory {
            directory: tempfile::tempdir().unwrap(),
            signer: Signer::SoftHsm(KeyAlgorithm::EcP256),
            token: None,
        };
        let subject = "O=Acme,CN=Acme Issuing CA".parse().unwrap();
        let mut plan = CaPlan::new(factory.path("ca"), subject);
        plan.sessions = Some(2);
        plan.origin = Some(crate::officer::LOG.to_owned());
        plan.signer = KeyPlace::Token(Box::new(tokens[0].clone()));
        ceremony::create(&plan).unwrap();
        let one = format!("signer = \"{}\"", tokens[0].as_written());
        let all: Vec<&str> = tokens.iter().map(Pkcs11Uri::as_written).collect();
        let text = fs::read_to_string(factory.configuration()).unwrap();
        assert!(text.contains(&one), "{text}");
        let text = text.replace(&one, &format!("signers = {all:?}\n{limits}"));
        fs::write(factory.configuration(), text).unwrap();
        factory
    }

    /// Another CA with a key on the same token.
    pub(crate) fn beside(&self) -> Factory {
        Factory::with_token(self.signer, self.token.clone())
    }

    /// The token that holds the issuing key.
    pub(crate) fn token(&self) -> &Token {
        self.token.as_ref().unwrap()
    }

    fn perform_ceremony(&self) {
        let subject = "O=Acme,CN=Acme Issuing CA".parse().unwrap();
        let mut plan = CaPlan::new(self.path("ca"), subject);
        plan.algorithm = self.signer.algorithm();
        plan.rsa_signature = matches!(self.signer, Signer::Pss { .. }).then_some(RsaSignature::Pss);
        plan.sessions = Some(2);
        plan.origin = Some(crate::officer::LOG.to_owned());
        plan.key_copy = self.signer == Signer::SoftHsmKeyCopy;
        let guard = TOKEN_SETUP.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &self.token {
            let key = token.next_key();
            let uri = Pkcs11Uri::new(&token.module, &token.label, &key, Some(&token.pin_file));
            plan.signer = KeyPlace::Token(Box::new(uri));
        }
        ceremony::create(&plan).unwrap();
        drop(guard);
        // A machine with many tests at a time may take long over a signature; nothing hangs here.
        let text = fs::read_to_string(self.configuration()).unwrap();
        let text = text.replacen("[issuer]\n", "[issuer]\ncall_limit_s = 300\n", 1);
        fs::write(self.configuration(), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("ca/birthmark.toml")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("ca/log")
    }

    /// Adds a profile to the configuration.
    pub(crate) fn add_profile(&self, name: &str, text: &str) {
        self.file(&format!("ca/profiles/{name}.toml"), text);
        let configuration = fs::read_to_string(self.configuration()).unwrap();
        let more = format!("profiles = [\"profiles/{name}.toml\", ");
        fs::write(
            self.configuration(),
            configuration.replace("profiles = [", &more),
        )
        .unwrap();
    }

    /// What the configuration says, with small segments and quick retries when the disk is full.
    pub(crate) fn station(&self) -> Station {
        let mut station = Configuration::load(&self.configuration())
            .unwrap()
            .station()
            .unwrap();
        station.log_options.segment_bytes = SEGMENT_BYTES;
        station.log_options.space_retry = Duration::from_millis(10);
        // Counts of records are counts of certificates here; `activation.rs` has the starts.
        station.activation = None;
        station
    }

    pub(crate) fn open(&self) -> Engine {
        Engine::open(self.station()).unwrap()
    }

    pub(crate) fn open_with(&self, change: impl FnOnce(&mut Station)) -> Engine {
        let mut station = self.station();
        change(&mut station);
        Engine::open(station).unwrap()
    }

    /// All records, in order. The log must not be open.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let reader = LogReader::open(&self.log()).unwrap();
        reader
            .iter()
            .map(|entry| Entry::new(&entry.unwrap().1))
            .collect()
    }

    /// What signs the log's checkpoints.
    pub(crate) fn log_key(&self) -> Arc<LogKey> {
        let configuration = Configuration::load(&self.configuration()).unwrap();
        let key = LogKey::read(configuration.log_key(), configuration.log_origin());
        Arc::new(key.unwrap())
    }

    /// Checks the log and says what it holds. The log must not be open.
    pub(crate) fn verify(&self) -> VerifyReport {
        birthmark_log::verify(&self.log(), &Verification::default()).unwrap()
    }

    /// The only serial number and key of every certificate in the log, each once but for a device that
    /// was reissued with its own; every reservation has its record; no record is replaced twice. Gives the
    /// records.
    pub(crate) fn assert_sound(&self) -> Vec<Entry> {
        let report = self.verify();
        let entries = self.entries();
        assert_eq!(report.records, entries.len() as u64);
        assert_eq!(
            report.reservations_open, 0,
            "every reservation is issued or lost"
        );
        let kept = entries
            .iter()
            .filter(|entry| entry.serial().is_some())
            .count();
        assert_eq!(
            report.reservations, kept as u64,
            "signatures = issued + lost"
        );
        let mut serials: Vec<_> = entries.iter().filter_map(Entry::serial).collect();
        let mut keys: Vec<_> = entries
            .iter()
            .filter_map(|entry| entry.new_key(&entries))
            .collect();
        assert_replaced_once(&entries);
        for (what, values) in [("serial number", &mut serials), ("key", &mut keys)] {
            let count = values.len();
            values.sort();
            values.dedup();
            assert_eq!(values.len(), count, "a {what} stands twice in the log");
        }
        entries
    }
}

/// A record of the log, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Issued {
        time_ms: u64,
        certificate: Vec<u8>,
        key: Vec<u8>,
        identity: Option<String>,
        replaces: Option<u64>,
        /// Digest of the permit, hexadecimal.
        permit: Option<String>,
    },
    Lost {
        time_ms: u64,
        serial: Vec<u8>,
    },
    Activated {
        activation: String,
        signer: String,
    },
    Other {
        kind: u64,
        bytes: Vec<u8>,
    },
}

impl Entry {
    fn new(bytes: &[u8]) -> Entry {
        match Record::decode(bytes).unwrap() {
            Record::Issued(issued) => Entry::Issued {
                time_ms: issued.time_ms,
                certificate: issued.certificate.to_vec(),
                key: issued.key_fingerprint.to_vec(),
                identity: issued.identity.map(str::to_owned),
                replaces: issued.replaces,
                permit: issued.data.get(DATA_PERMIT).map(|&text| text.to_owned()),
            },
            Record::Lost(lost) => Entry::Lost {
                time_ms: lost.time_ms,
                serial: lost.serial.to_vec(),
            },
            Record::Activated(activated) => Entry::Activated {
                activation: activated.activation.to_owned(),
                signer: activated.signer.to_owned(),
            },
            Record::Other { kind, .. } => Entry::Other {
                kind,
                bytes: bytes.to_vec(),
            },
            other => panic!("a kind of record that these tests do not know: {other:?}"),
        }
    }

    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Entry::Issued { certificate, .. } => Some(certificate),
            _ => None,
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Entry::Lost { .. })
    }

    /// The serial number's magnitude, without leading zeros.
    pub(crate) fn serial(&self) -> Option<Vec<u8>> {
        let serial = match self {
            Entry::Issued { certificate, .. } => serial_of(certificate),
            Entry::Lost { serial, .. } => serial.clone(),
            Entry::Activated { .. } | Entry::Other { .. } => return None,
        };
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        Some(serial[zeros..].to_vec())
    }

    /// The key's fingerprint, unless it is that of the record that this one replaces.
    fn new_key(&self, entries: &[Entry]) -> Option<Vec<u8>> {
        match self {
            Entry::Issued { key, replaces, .. } => {
                let kept = replaces.is_some_and(|index| {
                    matches!(&entries[index as usize], Entry::Issued { key: before, .. } if before == key)
                });
                (!kept).then(|| key.clone())
            }
            _ => None,
        }
    }
}

/// What is replaced is an earlier certificate of the same device, and each one only once.
fn assert_replaced_once(entries: &[Entry]) {
    let folded = |identity: &Option<String>| identity.as_ref().map(|text| text.to_lowercase());
    let mut replaced = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let Entry::Issued {
            identity,
            replaces: Some(before),
            ..
        } = entry
        else {
            continue;
        };
        assert!((*before as usize) < index, "{index} replaces {before}");
        assert!(replaced.insert(*before), "{before} is replaced twice");
        let Entry::Issued {
            identity: earlier, ..
        } = &entries[*before as usize]
        else {
            panic!("{index} replaces {before}, which is no certificate")
        };
        assert_eq!(
            folded(identity),
            folded(earlier),
            "{index} replaces {before}"
        );
    }
}

/// The serial number in a certificate, as x509-cert reads it.
pub(crate) fn serial_of(certificate: &[u8]) -> Vec<u8> {
    use der::Decode;
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    certificate
        .tbs_certificate()
        .serial_number()
        .as_bytes()
        .to_vec()
}

/// The rejection in a result.
#[track_caller]
pub(crate) fn rejection(result: Result<Issued, IssueError>) -> Rejection {
    match result {
        Err(IssueError::Rejected(rejection)) => rejection,
        other => panic!("this should be rejected: {other:?}"),
    }
}

/// The fault in a result.
#[track_caller]
pub(crate) fn fault(result: Result<Issued, IssueError>) -> Fault {
    match result {
        Err(IssueError::Fault(fault)) => fault,
        other => panic!("this should be a fault: {other:?}"),
    }
}

/// Writes a file that only this user reads.
pub(crate) fn write_private(path: &Path, content: &str) {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

/// Numbers from a fixed seed (splitmix64): the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
