//! Writes what the fuzz targets start from: requests and certificates with single faults, certificates of every
//! profile, the vectors of pyca/cryptography, PEM, corpus files and log records.
//!
//! ```text
//! cargo run --package birthmark-tests --example fuzz_seeds -- fuzz/corpus
//! ```

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use birthmark_engine::profile::READY_MADE;
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::corpus::Corpus;
use birthmark_log::LogReader;
use birthmark_tests::authority::{Authority, Base, World, to_pem};
use birthmark_tests::certificate_fault::CertificateFault;
use birthmark_tests::der_tree::Node;
use birthmark_tests::oracle::Oracles;
use birthmark_tests::request_fault::{RequestFault, device};
use birthmark_tests::sample::Issuers;

/// The largest seed: longer ones only make the fuzzer slow.
const SEED_BYTES_MAX: usize = 16 * 1024;

/// Writes seeds of one target.
struct Seeds {
    directory: PathBuf,
    written: usize,
}

impl Seeds {
    fn new(out: &Path, target: &str) -> Seeds {
        let directory = out.join(target);
        fs::create_dir_all(&directory).unwrap();
        Seeds {
            directory,
            written: 0,
        }
    }

    fn write(&mut self, name: &str, octets: &[u8]) {
        if octets.len() <= SEED_BYTES_MAX {
            fs::write(self.directory.join(name), octets).unwrap();
            self.written += 1;
        }
    }

    fn end(self) {
        println!("{}: {} seeds", self.directory.display(), self.written);
    }
}

fn main() {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out.expect("usage: fuzz_seeds DIRECTORY");
    requests(&out);
    certificates(&out);
    let mut profiles = Seeds::new(&out, "profile");
    for ready in READY_MADE {
        profiles.write(ready.name, ready.toml.as_bytes());
    }
    profiles.end();
    corpora(&out);
    records(&out);
}

fn requests(out: &Path) {
    let authority = Authority::new(KeyAlgorithm::EcP256);
    let issuer = Node::parse(&authority.issuing_certificate())[0][6].clone();
    let (mut csr, mut pem) = (Seeds::new(out, "csr"), Seeds::new(out, "pem"));
    for (number, fault) in RequestFault::all().enumerate() {
        csr.write(
            fault.name,
            &fault.apply(number as u64, (&authority.key, &issuer)),
        );
    }
    for (name, directory) in [
        ("requests", "x509/requests"),
        ("certificates", "x509/custom"),
    ] {
        for (number, path) in vectors(directory).into_iter().enumerate() {
            pem.write(&format!("{name}-{number}"), &fs::read(path).unwrap());
        }
    }
    let one = to_pem(
        "CERTIFICATE REQUEST",
        &device(KeyAlgorithm::EcP256, 1).request().unwrap(),
    );
    let old = one.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    pem.write(
        "two",
        format!("Device 1\n{one}\nDevice 2\n{old}").as_bytes(),
    );
    pem.write("crlf", one.replace('\n', "\r\n").as_bytes());
    csr.end();
    pem.end();
}

fn certificates(out: &Path) {
    let world = World::new();
    let mut seeds = ["certificate", "lint"].map(|target| Seeds::new(out, target));
    let mut write = |name: &str, octets: &[u8]| {
        for target in &mut seeds {
            target.write(name, octets);
        }
    };
    for base in Base::ALL {
        write(base.name(), world.good(base));
    }
    for fault in CertificateFault::all() {
        write(fault.name, &fault.apply(&world));
    }
    for (number, sample) in Issuers::issue().1.iter().enumerate() {
        write(&format!("{}-{number}", sample.profile), &sample.certificate);
    }
    for directory in ["x509", "x509/custom", "x509/PKITS_data/certs"] {
        for path in vectors(directory) {
            let octets = fs::read(&path).unwrap();
            let der = der::pem::decode_vec(&octets).map(|(_, der)| der);
            let der = der.unwrap_or(octets);
            write(path.file_name().unwrap().to_str().unwrap(), &der);
        }
    }
    for target in seeds {
        target.end();
    }
}

fn corpora(out: &Path) {
    let mut seeds = Seeds::new(out, "corpus");
    let directory = tempfile::tempdir().unwrap();
    for (name, algorithm) in [
        ("p256", KeyAlgorithm::EcP256),
        ("ed25519", KeyAlgorithm::Ed25519),
        ("rsa2048", KeyAlgorithm::Rsa2048),
    ] {
        let path = directory.path().join(name);
        Corpus::make(&path, 3, algorithm, 1, &mut |_| {}).unwrap();
        seeds.write(name, &fs::read(path).unwrap());
    }
    seeds.end();
}

fn records(out: &Path) {
    let mut seeds = Seeds::new(out, "record");
    let authority = Authority::new(KeyAlgorithm::EcP256);
    let engine = authority.open();
    for number in 0..3 {
        let csr = device(KeyAlgorithm::EcP256, number).request().unwrap();
        let _ = authority.issue(&engine, "idevid", csr);
    }
    engine.close().unwrap();
    let reader = LogReader::open(&authority.path("log")).unwrap();
    for entry in reader.iter() {
        let (index, record) = entry.unwrap();
        seeds.write(&index.to_string(), &record);
    }
    seeds.end();
}

/// The files of a directory of pyca/cryptography's vectors.
fn vectors(directory: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(Oracles::get().vectors().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
