//! A small HTTP server on the loopback: files of a directory, and a witness (c2sp.org/tlog-witness).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use birthmark_log::tlog::{
    Checkpoint, Hash, Note, NoteSignature, VerifierKey, cosignature_message, verify_consistency,
};

/// Answers until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Status, content type, body.
type Answer = (u16, &'static str, Vec<u8>);

impl Server {
    pub(crate) fn files(root: &Path) -> Server {
        let root: PathBuf = root.to_owned();
        Server::start(move |method, path, _| {
            assert_eq!(method, "GET");
            match std::fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(bytes) => (200, "application/octet-stream", bytes),
                Err(_) => (404, "text/plain", Vec::new()),
            }
        })
    }

    pub(crate) fn witness(witness: Arc<Witness>) -> Server {
        Server::start(move |method, path, body| {
            assert_eq!((method, path), ("POST", "/add-checkpoint"));
            witness.add_checkpoint(std::str::from_utf8(body).unwrap())
        })
    }

    fn start(answer: impl Fn(&str, &str, &[u8]) -> Answer + Send + 'static) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A client may hang up at any time.
                let _ = serve(stream.unwrap(), &answer);
            }
        });
        Server {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the server panicked");
        }
    }
}

/// One request, one connection.
fn serve(stream: TcpStream, answer: &impl Fn(&str, &str, &[u8]) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap_or("/"));
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, content_type, content) = answer(method, path, &body);
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        content.len()
    )?;
    stream.write_all(&content)
}

/// A witness for one log.
pub(crate) struct Witness {
    log: VerifierKey,
    key: Ed25519KeyPair,
    pub(crate) vkey: VerifierKey,
    latest: Mutex<HashMap<String, (u64, Hash)>>,
    /// What it answered, in order.
    pub(crate) statuses: Mutex<Vec<u16>>,
}

impl Witness {
    pub(crate) fn of(log: VerifierKey) -> Arc<Witness> {
        let key = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let public = key.public_key().as_ref().try_into().unwrap();
        Arc::new(Witness {
            log,
            key,
            vkey: VerifierKey::cosigner("witness.example", public).unwrap(),
            latest: Mutex::default(),
            statuses: Mutex::default(),
        })
    }

    fn add_checkpoint(&self, body: &str) -> Answer {
        let (status, content_type, body) = self.judge(body);
        self.statuses.lock().unwrap().push(status);
        (status, content_type, body.into_bytes())
    }

    fn judge(&self, body: &str) -> (u16, &'static str, String) {
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines
            .next()
            .unwrap()
            .strip_prefix("old ")
            .unwrap()
            .parse()
            .unwrap();
        let proof: Vec<Hash> = lines.map(|line| line.parse().unwrap()).collect();
        let note = Note::parse(note.as_bytes()).unwrap();
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        let plain = |status| (status, "text/plain", String::new());
        if checkpoint.origin != self.log.name() {
            return plain(404);
        }
        if note.verified_by(&self.log).is_err() {
            return plain(403);
        }
        let mut latest = self.latest.lock().unwrap();
        let known = latest.get(&checkpoint.origin).copied();
        let (size, root) = known.unwrap_or((0, birthmark_log::tlog::empty_root()));
        if old > checkpoint.size {
            return plain(400);
        }
        if old != size || (size == checkpoint.size && root != checkpoint.root) {
            return (409, "text/x.tlog.size", format!("{size}\n"));
        }
        if verify_consistency(size, root, checkpoint.size, checkpoint.root, &proof).is_err() {
            return plain(422);
        }
        latest.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
        let time_s = 1_790_000_000_u64;
        let made = self
            .key
            .sign(cosignature_message(time_s, &note.text).as_bytes());
        let signature = NoteSignature {
            name: self.vkey.name().to_owned(),
            key_id: self.vkey.key_id(),
            signature: [&time_s.to_be_bytes()[..], made.as_ref()].concat(),
        };
        (200, "text/plain", format!("{signature}\n"))
    }
}
