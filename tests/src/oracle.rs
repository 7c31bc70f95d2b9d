//! Other people's checkers: pkilint, pyca/cryptography, zlint, OpenSSL, GnuTLS and matter.js.
//!
//! `tests/oracles/install.sh` brings them; if it cannot, whatever asks for a verdict fails with what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, from_pem, to_pem};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles");

/// The sources of zlint's rules that are not for every certificate but for the web and for mail. What is left is
/// from RFCs and the community; zlint 3.6 does not know all of those by name.
const ZLINT_NOT: &str = "CABF_BR,CABF_EV,CABF_SMIME_BR,Mozilla,Apple,ETSI_ESI";

/// A checker of any certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// pkilint, for RFC 5280. Knows the certificate alone.
    Pkilint,
    /// zlint, its rules of RFCs and its community. Knows the certificate alone.
    Zlint,
    /// `openssl verify -x509_strict`.
    OpenSsl,
    /// `certtool --verify`.
    GnuTls,
    /// Every field by pyca/cryptography, its signature and the path.
    Pyca,
}

impl Tool {
    /// Every tool.
    pub const ALL: [Tool; 5] = [
        Tool::Pkilint,
        Tool::Zlint,
        Tool::OpenSsl,
        Tool::GnuTls,
        Tool::Pyca,
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tool::Pkilint => "pkilint",
            Tool::Zlint => "zlint",
            Tool::OpenSsl => "OpenSSL",
            Tool::GnuTls => "GnuTLS",
            Tool::Pyca => "pyca",
        }
    }
}

/// A certificate to be judged.
pub struct Case<'a> {
    /// Unique among those judged together.
    pub name: String,
    /// DER, or what is left of it.
    pub certificate: Vec<u8>,
    /// The CA that it is from.
    pub authority: &'a Authority,
    /// The CA's root signed it, not its issuing key.
    pub by_root: bool,
}

/// A Matter certificate to be judged with the one above it.
pub struct MatterCase {
    /// Unique among those judged together.
    pub name: String,
    /// `Dac`, `Pai` or `Paa`.
    pub kind: &'static str,
    /// DER.
    pub certificate: Vec<u8>,
    /// DER.
    pub issuer: Vec<u8>,
}

/// What each tool found about each certificate, by name. Nothing found is an empty set.
pub type Verdicts = BTreeMap<(String, Tool), BTreeSet<String>>;

/// Where the checkers are.
pub struct Oracles {
    python: PathBuf,
    zlint: PathBuf,
    certtool: PathBuf,
    matter: PathBuf,
}

#[derive(Serialize)]
struct Question<'a> {
    name: &'a str,
    kind: &'a str,
    certificate: String,
    issuer: String,
}

#[derive(Deserialize)]
struct Answer {
    name: String,
    tool: String,
    findings: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ZlintResult {
    result: String,
}

impl Oracles {
    /// The checkers, brought when they are first asked for.
    ///
    /// # Panics
    ///
    /// If one of them cannot be had.
    pub fn get() -> &'static Oracles {
        static ORACLES: OnceLock<Oracles> = OnceLock::new();
        ORACLES.get_or_init(|| {
            let script = Path::new(DIRECTORY).join("install.sh");
            let output = Command::new(&script).output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success(),
                "{}: {}",
                script.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            let place = |tool: &str| {
                let mut lines = told.lines();
                let found = lines.find_map(|line| line.strip_prefix(tool)?.strip_prefix(' '));
                PathBuf::from(found.unwrap_or_else(|| panic!("{tool} is not in {told:?}")))
            };
            Oracles {
                python: place("python"),
                zlint: place("zlint"),
                certtool: place("certtool"),
                matter: place("matter"),
            }
        })
    }

    /// The directory of pyca/cryptography's test vectors.
    ///
    /// # Panics
    ///
    /// If Python does not find it.
    #[must_use]
    pub fn vectors(&self) -> PathBuf {
        let script = "import cryptography_vectors; print(cryptography_vectors.__path__[0])";
        let output = Command::new(&self.python)
            .args(["-I", "-c", script])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    }

    /// Has every tool judge the certificates.
    ///
    /// # Panics
    ///
    /// If a tool comes to no verdict.
    #[must_use]
    pub fn judge(&self, cases: &[Case<'_>]) -> Verdicts {
        let directory = tempfile::tempdir().unwrap();
        let mut verdicts = self.ask_python(cases);
        for case in cases {
            let file = directory.path().join(format!("{}.der", case.name));
            fs::write(&file, &case.certificate).unwrap();
            let mut add = |tool, findings| {
                verdicts.insert((case.name.clone(), tool), findings);
            };
            add(Tool::Zlint, self.ask_zlint(&file));
            add(Tool::OpenSsl, ask_openssl(case, &file));
            let pem = directory.path().join(format!("{}.pem", case.name));
            fs::write(&pem, to_pem("CERTIFICATE", &case.certificate)).unwrap();
            add(Tool::GnuTls, self.ask_certtool(case, &pem));
        }
        verdicts
    }

    /// Has matter.js judge Matter certificates.
    ///
    /// # Panics
    ///
    /// If it comes to no verdict.
    #[must_use]
    pub fn judge_matter(&self, cases: &[MatterCase]) -> BTreeMap<String, BTreeSet<String>> {
        let mut command = Command::new("node");
        command
            .arg(Path::new(DIRECTORY).join("judge.cjs"))
            .arg(&self.matter);
        let questions: Vec<_> = cases
            .iter()
            .map(|case| Question {
                name: &case.name,
                kind: case.kind,
                certificate: hex(&case.certificate),
                issuer: hex(&case.issuer),
            })
            .collect();
        let answers = ask(&mut command, &questions);
        answers
            .into_iter()
            .map(|answer| (answer.name, answer.findings))
            .collect()
    }

    /// What each tool prints of a PKCS #12 file: PEM of its key in the clear (PKCS #8; certtool writes SEC 1) and of
    /// its certificates. What it says otherwise.
    ///
    /// # Panics
    ///
    /// If a tool cannot be run.
    #[must_use]
    pub fn open_pkcs12(&self, pfx: &[u8], secret: &str) -> BTreeMap<Tool, Result<String, String>> {
        const PYCA: &str = "
import os, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.serialization import pkcs12
with open(sys.argv[1], 'rb') as file:
    read = pkcs12.load_pkcs12(file.read(), os.environ['SECRET'].encode())
key = read.key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
for certificate in [read.cert, *read.additional_certs]:
    key += certificate.certificate.public_bytes(s.Encoding.PEM)
print(key.decode())";
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device.p12");
        fs::write(&path, pfx).unwrap();
        let file = path.to_str().unwrap();
        let password = format!("--password={secret}");
        let commands: [(Tool, &Path, &[&str]); 3] = [
            (
                Tool::OpenSsl,
                Path::new("openssl"),
                &["pkcs12", "-in", file, "-noenc", "-passin", "env:SECRET"],
            ),
            (
                Tool::GnuTls,
                &self.certtool,
                &["--p12-info", "--inder", "--infile", file, &password],
            ),
            (Tool::Pyca, &self.python, &["-I", "-c", PYCA, file]),
        ];
        let run = |(tool, program, arguments): (Tool, &Path, &[&str])| {
            let mut command = Command::new(program);
            command.args(arguments).env("SECRET", secret);
            let output = command.env("PYTHONUTF8", "1").output().unwrap();
            let opened = match output.status.success() {
                true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
                false => Err(told(&output)),
            };
            (tool, opened)
        };
        let mut opened: BTreeMap<_, _> = commands.into_iter().map(run).collect();
        // certtool decrypts a key in another run.
        if let Some(Ok(text)) = opened.get_mut(&Tool::GnuTls)
            && let Some(at) = text.find("-----BEGIN ENCRYPTED")
        {
            fs::write(&path, text.split_off(at)).unwrap();
            let decrypt = ["--key-info", "--pkcs8", "--infile", file, &password];
            let output = Command::new(&self.certtool).args(decrypt).output().unwrap();
            text.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        opened
    }

    /// What pyca/cryptography makes of a fixed seed for each of ML-DSA-44, ML-DSA-65 and ML-DSA-87: a CA's own
    /// certificate, as the examples of RFC 9881 are, and a request. Both PEM.
    ///
    /// # Panics
    ///
    /// If it makes none.
    #[must_use]
    pub fn make_ml_dsa(&self) -> Vec<(String, String)> {
        const SCRIPT: &str = "
import datetime, hashlib, json
from cryptography import x509
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import mldsa
def name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, text)])
for kind in (mldsa.MLDSA44PrivateKey, mldsa.MLDSA65PrivateKey, mldsa.MLDSA87PrivateKey):
    key = kind.from_seed_bytes(bytes(range(32)))
    public = key.public_key()
    raw = public.public_bytes(s.Encoding.Raw, s.PublicFormat.Raw)
    ca = x509.CertificateBuilder().subject_name(name('CA')).issuer_name(name('CA')).public_key(public)
    ca = ca.serial_number(0x4a << 112).not_valid_before(datetime.datetime(2025, 1, 1))
    ca = ca.not_valid_after(datetime.datetime(2045, 1, 1))
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier(hashlib.shake_256(raw).digest(20))
    ca = ca.add_extension(usage, True).add_extension(x509.BasicConstraints(True, None), True)
    ca = ca.add_extension(identifier, False)
    request = x509.CertificateSigningRequestBuilder().subject_name(name('SN-' + kind.__name__))
    made = [one.sign(key, None).public_bytes(s.Encoding.PEM).decode() for one in (ca, request)]
    print(json.dumps(made))";
        let mut command = Command::new(&self.python);
        let output = command.args(["-I", "-c", SCRIPT]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn ask_python(&self, cases: &[Case<'_>]) -> Verdicts {
        let mut command = Command::new(&self.python);
        command.args(["-I", &format!("{DIRECTORY}/judge.py")]);
        let questions: Vec<_> = cases
            .iter()
            .map(|case| Question {
                name: &case.name,
                kind: "",
                certificate: hex(&case.certificate),
                issuer: hex(&from_pem(&fs::read_to_string(case.issuer_file()).unwrap())),
            })
            .collect();
        let answers = ask(&mut command, &questions);
        assert_eq!(answers.len(), 2 * cases.len(), "each has two verdicts");
        let verdict = |answer: Answer| {
            let tool = Tool::ALL
                .into_iter()
                .find(|tool| tool.name() == answer.tool)
                .unwrap();
            ((answer.name, tool), answer.findings)
        };
        answers.into_iter().map(verdict).collect()
    }

    fn ask_zlint(&self, file: &Path) -> BTreeSet<String> {
        let mut command = Command::new(&self.zlint);
        command.args(["-format", "der", "-excludeSources", ZLINT_NOT]);
        let output = command.arg(file).output().unwrap();
        let Ok(results) = serde_json::from_slice::<BTreeMap<String, ZlintResult>>(&output.stdout)
        else {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                said.contains("unable to parse certificate"),
                "zlint: {}",
                told(&output)
            );
            return BTreeSet::from(["cannot be read".to_owned()]);
        };
        let found = results
            .into_iter()
            .filter(|(_, one)| ["warn", "error", "fatal"].contains(&one.result.as_str()));
        found
            .map(|(lint, one)| format!("{} {lint}", one.result))
            .collect()
    }

    fn ask_certtool(&self, case: &Case<'_>, pem: &Path) -> BTreeSet<String> {
        let chain = pem.with_extension("authorities");
        let (root, issuing) = case.authority_files();
        let both = [root, issuing].map(|path| fs::read_to_string(path).unwrap());
        fs::write(&chain, both.concat()).unwrap();
        let output = Command::new(&self.certtool)
            .args(["--verify", "--infile"])
            .arg(pem)
            .arg("--load-ca-certificate")
            .arg(&chain)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Output: "));
        match said {
            Some(said) if said.starts_with("Verified.") && output.status.success() => {
                BTreeSet::new()
            }
            Some(said) => BTreeSet::from([said.trim().to_owned()]),
            None => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(
                    said.contains("error parsing CRTs") || said.contains("gnutls_x509_crt_"),
                    "certtool: {}",
                    told(&output)
                );
                BTreeSet::from(["cannot be read".to_owned()])
            }
        }
    }
}

impl Case<'_> {
    fn issuer_file(&self) -> PathBuf {
        let (root, issuing) = self.authority_files();
        if self.by_root { root } else { issuing }
    }

    /// The root's certificate and the issuing one, PEM.
    fn authority_files(&self) -> (PathBuf, PathBuf) {
        (
            self.authority.root_certificate_file(),
            self.authority.issuing_certificate_file(),
        )
    }
}

fn ask_openssl(case: &Case<'_>, file: &Path) -> BTreeSet<String> {
    let (root, issuing) = case.authority_files();
    let mut command = Command::new("openssl");
    command
        .args(["verify", "-x509_strict", "-no-CApath", "-attime"])
        .arg(soon().to_string())
        .arg("-CAfile")
        .arg(root);
    if !case.by_root {
        command.arg("-untrusted").arg(issuing);
    }
    let output = command.arg(file).output().unwrap();
    if output.status.success() {
        return BTreeSet::new();
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let found: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("error ")?.split_once("lookup: "))
        .map(|(_, what)| what.trim().to_owned())
        .collect();
    if !found.is_empty() {
        return found;
    }
    assert!(
        text.contains("Unable to load certificate"),
        "openssl: {}",
        told(&output)
    );
    BTreeSet::from(["cannot be read".to_owned()])
}

/// A minute from now: the log's time, which certificates are issued at, may be a little ahead of the clock.
fn soon() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + 60
}

/// Puts questions to a program, which answers each in a line.
fn ask(command: &mut Command, questions: &[Question<'_>]) -> Vec<Answer> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Both programs read everything before they answer.
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(questions).unwrap())
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
