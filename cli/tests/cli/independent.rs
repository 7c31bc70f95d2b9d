//! The published part of a real log, judged by tools that others wrote: on disk, and behind a plain
//! static file server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use birthmark_log::tlog::VerifierKey;

use crate::support::{Factory, assert_code, birthmark, request_pem, text};
use crate::verifiers::{TOOLS, accepts, judge, receipt};

/// Two full tiles, a partial one, and a second level.
const RECORDS: u64 = 530;

/// A real CA, its certificates issued by the real binary in two runs.
fn issued() -> (Factory, VerifierKey) {
    let factory = Factory::new();
    for numbers in [0..200, 200..RECORDS] {
        let requests: String = numbers.map(request_pem).collect();
        assert_code(&factory.issue(&["-"], requests.as_bytes()), 0);
    }
    let log = factory.path("ca/log");
    let vkey = birthmark(&["log", "vkey", log.to_str().unwrap()], b"");
    assert_code(&vkey, 0);
    let vkey = text(&vkey.stdout).trim_end().parse().unwrap();
    (factory, vkey)
}

#[test]
fn independent_verifiers_accept_what_the_engine_published() {
    let (factory, vkey) = issued();
    let public = factory.path("ca/log/public");
    accepts(&public, &vkey, &[]);
    let log = factory.path("ca/log").to_str().unwrap().to_owned();
    for index in [0, 199, 200, 255, 256, 511, 512, RECORDS - 1] {
        let number = index.to_string();
        let ours = birthmark(&["log", "proof", &log, "--index", &number, "--bare"], b"");
        assert_code(&ours, 0);
        let theirs = receipt(&public, index);
        assert_eq!(
            String::from_utf8(ours.stdout).unwrap(),
            theirs,
            "record {index}"
        );
    }

    for (file, byte, bit) in [
        ("tile/0/000", 4_000, 3),
        ("tile/0/002.p/18", 100, 0),
        ("tile/1/000.p/2", 40, 5),
        ("tile/entries/000", 90_000, 4),
        ("tile/entries/002.p/18", 700, 0),
        ("checkpoint", 4, 0),
    ] {
        let path = public.join(file);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << bit;
        fs::write(&path, &flipped).unwrap();
        for tool in TOOLS {
            let verdict = judge(tool, &public, &vkey, &[]);
            assert!(verdict.is_err(), "{tool} overlooked {file}, byte {byte}");
        }
        // So does ours.
        assert_code(&birthmark(&["log", "verify", &log], b""), 3);
        fs::write(&path, &whole).unwrap();
    }
    accepts(&public, &vkey, &[]);
}

#[test]
fn a_static_file_server_is_enough() {
    let (factory, vkey) = issued();
    let public = factory.path("ca/log/public");
    let server = FileServer::start(&public);
    accepts(Path::new(&server.url), &vkey, &[]);

    let path = public.join("tile/entries/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let verdict = judge("aics-tlog", Path::new(&server.url), &vkey, &[]);
    assert!(verdict.is_err(), "{verdict:?}");
}

/// Python's `http.server` on a free port of this machine; ends when dropped.
struct FileServer {
    child: Child,
    url: String,
}

impl FileServer {
    fn start(directory: &Path) -> FileServer {
        let mut child = Command::new("python3")
            .args(["-I", "-u", "-m", "http.server", "--bind", "127.0.0.1"])
            .arg("--directory")
            .arg(directory)
            .arg("0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 must be installed for this test");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
        let from = line.find("(http://").map(|at| at + 1);
        let url = from.and_then(|from| line[from..].split("/)").next());
        let url = url.map(str::to_owned);
        let mut server = FileServer {
            child,
            url: String::new(),
        };
        server.url = url.unwrap_or_else(|| panic!("the file server said {line:?}"));
        server
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
