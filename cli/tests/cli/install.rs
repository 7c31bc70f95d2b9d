//! An issuing CA below an outside root, which openssl plays: `birthmark ca csr`, `birthmark ca install`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{assert_code, birthmark, column, error_line, request_pem};
use crate::token::Token;

const SUBJECT: &str = "C=DE,O=Acme,CN=Acme Issuing CA";

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("openssl must be installed for this test");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// An outside authority: a root and an intermediate CA in files of their own.
struct Outside {
    directory: PathBuf,
}

impl Outside {
    fn new(directory: &Path, name: &str, intermediate_path_length: u8) -> Outside {
        let outside = Outside {
            directory: directory.join(name),
        };
        fs::create_dir(&outside.directory).unwrap();
        let run = |arguments: &[&str]| openssl(&outside.directory, arguments);
        let curve = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
            "-noenc",
        ];
        let ca = "basicConstraints=critical,CA:TRUE";
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let mut root = vec![
            "req",
            "-x509",
            "-sha384",
            "-days",
            "3650",
            "-subj",
            "/O=Root Keepers/CN=Root",
        ];
        root.extend(curve);
        root.extend([
            "-addext", ca, "-addext", usage, "-keyout", "root.key", "-out", "root.pem",
        ]);
        run(&root);
        let mut middle = vec!["req", "-subj", "/O=Root Keepers/CN=Middle"];
        middle.extend(curve);
        middle.extend(["-keyout", "middle.key", "-out", "middle.csr"]);
        run(&middle);
        let extensions = format!(
            "{ca},pathlen:{intermediate_path_length}\n{usage}\nsubjectKeyIdentifier=hash\n\
             authorityKeyIdentifier=keyid\n"
        );
        outside.sign("middle", "root", &extensions, &["-days", "1000"]);
        outside
    }

    /// Certifies `name`.csr.
    fn sign(&self, name: &str, issuer: &str, extensions: &str, more: &[&str]) {
        let file = |ending: &str| format!("{name}.{ending}");
        fs::write(self.directory.join(file("ext")), extensions).unwrap();
        let (csr, out, ext) = (file("csr"), file("pem"), file("ext"));
        let (ca, key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        let mut arguments = vec!["x509", "-req", "-sha384", "-CAcreateserial"];
        arguments.extend([
            "-in", &csr, "-CA", &ca, "-CAkey", &key, "-extfile", &ext, "-out", &out,
        ]);
        arguments.extend(more);
        openssl(&self.directory, &arguments);
    }

    /// As openssl tells it.
    fn root_sha256(&self) -> String {
        let show = [
            "x509",
            "-in",
            "root.pem",
            "-noout",
            "-fingerprint",
            "-sha256",
        ];
        let shown = openssl(&self.directory, &show);
        shown.trim().rsplit('=').next().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    /// A file with these certificates.
    fn chain(&self, name: &str, files: &[&str]) -> String {
        let text: String = files
            .iter()
            .map(|file| fs::read_to_string(self.path(file)).unwrap())
            .collect();
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

const ISSUING: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                       subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

/// A token with a key, its request at the outside authority, and a place for the CA.
struct World {
    outer: tempfile::TempDir,
    uri: String,
    outside: Outside,
}

impl World {
    fn new(name: &str, intermediate_path_length: u8) -> World {
        let outer = tempfile::tempdir().unwrap();
        let token = Token::new(outer.path(), name);
        let uri = token.uri("issuing");
        let made = birthmark(
            &["hsm", "keygen", "--uri", &uri, "--algorithm", "p256"],
            b"",
        );
        assert_code(&made, 0);
        let outside = Outside::new(outer.path(), "outside", intermediate_path_length);
        let csr = outside.path("issuing.csr");
        let arguments = [
            "ca",
            "csr",
            "--signer",
            &uri,
            "--subject",
            SUBJECT,
            "--out",
            &csr,
        ];
        assert_code(&birthmark(&arguments, b""), 0);
        World {
            outer,
            uri,
            outside,
        }
    }

    fn directory(&self) -> PathBuf {
        self.outer.path().join("ca")
    }

    fn install(&self, certificate: &str, chain: &str, more: &[&str]) -> Output {
        let directory = self.directory();
        let mut arguments = vec!["ca", "install", "--dir", directory.to_str().unwrap()];
        arguments.extend([
            "--signer",
            &self.uri,
            "--certificate",
            certificate,
            "--chain",
            chain,
        ]);
        arguments.extend(more);
        birthmark(&arguments, b"")
    }

    /// Not installed, with these words, and nothing left behind.
    fn refused(&self, certificate: &str, chain: &str, words: &str) {
        let root = self.outside.root_sha256();
        let refused = self.install(certificate, chain, &["--root-sha256", &root]);
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(words), "{words}: {line}");
        assert!(!self.directory().exists());
    }
}

#[test]
fn a_ca_below_an_outside_root_issues() {
    let world = World::new("install", 0x1);
    let outside = &world.outside;
    let shown = openssl(
        &outside.directory,
        &["req", "-in", "issuing.csr", "-noout", "-text", "-verify"],
    );
    for words in [
        "verify OK",
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
        "CN = Acme Issuing CA",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    outside.sign("issuing", "middle", ISSUING, &["-days", "900"]);
    // The order of the file does not matter.
    let chain = outside.chain("chain.pem", &["root.pem", "middle.pem"]);
    let root = outside.root_sha256();
    let other = root.replace(|digit: char| digit != ':', "0");
    let refused = world.install(
        &outside.path("issuing.pem"),
        &chain,
        &["--root-sha256", &other],
    );
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("do not install it"),
        "{}",
        error_line(&refused)
    );

    // Nor is a root trusted that nobody named.
    let refused = world.install(&outside.path("issuing.pem"), &chain, &[]);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    let digest = root.replace(':', "").to_lowercase();
    assert!(line.contains("which root is trusted"), "{line}");
    assert!(
        line.contains(&format!("add --root-sha256 {digest}")),
        "{line}"
    );
    assert!(!world.directory().exists());

    let installed = world.install(
        &outside.path("issuing.pem"),
        &chain,
        &["--root-sha256", &root, "--sessions", "2", "--json"],
    );
    assert_code(&installed, 0);
    let report: serde_json::Value = serde_json::from_slice(&installed.stdout).unwrap();
    assert_eq!(report["chain_length"], 3);
    let ca = world.directory();
    let config = ca.join("birthmark.toml");
    let configuration = fs::read_to_string(&config).unwrap();
    assert!(
        configuration.contains("activation = \"unattended\"")
            && configuration.contains("sessions = 2")
    );
    issues(&ca, &config);

    // The directory is a CA now, and stays as it is.
    let again = world.install(&outside.path("issuing.pem"), &chain, &[]);
    assert_code(&again, 2);
    assert!(error_line(&again).contains("never overwritten"));
}

/// The installed CA issues, and openssl follows the chain to the root.
fn issues(ca: &Path, config: &Path) {
    // The profile's ten years would outlive this issuer.
    let profile = ca.join("profiles/tls-client.toml");
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace("days = 3650", "days = 30")).unwrap();
    let issue = [
        "issue",
        "--config",
        config.to_str().unwrap(),
        "--profile",
        "tls-client",
        "-",
    ];
    let issued = birthmark(&issue, request_pem(1).as_bytes());
    assert_code(&issued, 0);
    fs::write(ca.join("device.pem"), &column(&issued, "certificate")[0]).unwrap();
    let verified = openssl(
        ca,
        &[
            "verify",
            "-x509_strict",
            "-CAfile",
            "root/root-ca.pem",
            "-untrusted",
            "chain.pem",
            "device.pem",
        ],
    );
    assert!(verified.contains("device.pem: OK"), "{verified}");
}

#[test]
fn a_chain_that_does_not_hold_is_refused() {
    let world = World::new("chain", 1);
    let outside = &world.outside;
    outside.sign("issuing", "middle", ISSUING, &["-days", "900"]);
    let issuing = outside.path("issuing.pem");
    let only_root = outside.chain("only-root.pem", &["root.pem"]);
    world.refused(
        &issuing,
        &only_root,
        "no certificate of 'CN=Middle,O=Root Keepers'",
    );
    let no_root = outside.chain("no-root.pem", &["middle.pem"]);
    world.refused(
        &issuing,
        &no_root,
        "no certificate of 'CN=Root,O=Root Keepers'",
    );
    // Another authority of the same names.
    let impostor = Outside::new(world.outer.path(), "impostor", 1);
    let chain = impostor.chain("chain.pem", &["middle.pem", "root.pem"]);
    world.refused(
        &issuing,
        &chain,
        "does not verify: they do not belong together",
    );
    let chain = outside.chain("chain.pem", &["middle.pem", "root.pem"]);
    let copy = fs::read(impostor.path("middle.pem")).unwrap();
    fs::write(outside.path("other.pem"), copy).unwrap();
    let stray = outside.chain("stray.pem", &["middle.pem", "root.pem", "other.pem"]);
    world.refused(&issuing, &stray, "does not belong to this chain");
    world.refused(&outside.path("none.pem"), &chain, "cannot be read");
    world.refused(
        &outside.path("issuing.csr"),
        &chain,
        "not certificates in PEM",
    );
    world.refused(&chain, &chain, "has 2 certificates; expected are 1");

    let no_ca = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\n";
    let no_usage = ISSUING.replace("keyCertSign,", "");
    let critical = format!("{ISSUING}nameConstraints=critical,permitted;DNS:acme.example\n");
    for (extensions, days, words) in [
        (no_ca, "900", "basicConstraints do not say cA"),
        (&no_usage, "900", "keyUsage lacks keyCertSign"),
        (&critical, "900", "critical extension 2.5.29.30"),
        (ISSUING, "-1", "has expired"),
    ] {
        outside.sign("issuing", "middle", extensions, &["-days", days]);
        world.refused(&issuing, &chain, words);
    }
    // Another key's certificate: the intermediate's, below its own root.
    world.refused(
        &outside.path("middle.pem"),
        &only_root,
        "public key is not the one",
    );
}

#[test]
fn a_path_length_is_kept() {
    // The intermediate allows no CA below it.
    let world = World::new("path", 0);
    let outside = &world.outside;
    outside.sign("issuing", "middle", ISSUING, &["-days", "900"]);
    let chain = outside.chain("chain.pem", &["middle.pem", "root.pem"]);
    world.refused(
        &outside.path("issuing.pem"),
        &chain,
        "its pathLenConstraint is 0, and 1 CAs are below it",
    );
}

/// A root that certifies by RSASSA-PSS alone asks for requests that are signed so.
#[test]
fn a_request_is_signed_with_pss_where_that_is_asked_for() {
    let outer = tempfile::tempdir().unwrap();
    let outside = Outside::new(outer.path(), "outside", 1);
    let run = |arguments: &[&str]| openssl(&outside.directory, arguments);
    let bits = ["-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.key"];
    run(&[&["genpkey", "-algorithm", "RSA"], &bits[..]].concat());
    let curve = ["-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec.key"];
    run(&[&["genpkey", "-algorithm", "EC"], &curve[..]].concat());
    let signer = |key: &str| format!("software:{}", outside.path(key));
    let csr = |key: &str, out: &str, more: &[&str]| {
        let (signer, out) = (signer(key), outside.path(out));
        let request = ["ca", "csr", "--signer", &signer, "--subject", SUBJECT];
        birthmark(&[&request[..], &["--out", &out], more].concat(), b"")
    };
    let forms: [(&[&str], &str); 3] = [
        (&[], "sha256WithRSAEncryption"),
        (&["--signature", "pkcs1"], "sha256WithRSAEncryption"),
        (&["--signature", "pss"], "rsassaPss"),
    ];
    for (place, (more, algorithm)) in forms.into_iter().enumerate() {
        let out = format!("{place}.csr");
        assert_code(&csr("rsa.key", &out, more), 0);
        let shown = run(&["req", "-in", &out, "-noout", "-text", "-verify"]);
        assert!(shown.contains("verify OK"), "{shown}");
        let signed = format!("Signature Algorithm: {algorithm}");
        assert!(shown.contains(&signed), "{shown}");
        // The key itself is not bound to one form.
        assert!(
            shown.contains("Public Key Algorithm: rsaEncryption"),
            "{shown}"
        );
    }
    outside.sign("2", "root", ISSUING, &["-days", "900"]);
    let (directory, root) = (outer.path().join("ca"), outside.root_sha256());
    let install = ["ca", "install", "--dir", directory.to_str().unwrap()];
    let (key, certificate, chain) = (
        signer("rsa.key"),
        outside.path("2.pem"),
        outside.path("root.pem"),
    );
    let given = ["--signer", &key, "--certificate", &certificate];
    let more = [
        "--chain",
        &chain,
        "--root-sha256",
        &root,
        "--signature",
        "pss",
    ];
    assert_code(&birthmark(&[&install, &given, &more[..]].concat(), b""), 0);

    let refused = csr("ec.key", "ec.csr", &["--signature", "pss"]);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(line.contains("RSA"), "{line}");
    assert!(!Path::new(&outside.path("ec.csr")).exists());
}
