//! Each single fault of a request: refused for the right reason, or harmless.

use std::collections::BTreeSet;

use birthmark_engine::stages::report_csr;
use birthmark_engine::{Engine, IssueError, Request};
use birthmark_hsm::KeyAlgorithm;
use birthmark_tests::authority::Authority;
use birthmark_tests::der_tree::Node;
use birthmark_tests::request_fault::{MARKER, Outcome, RequestFault, device};

/// The device of the request without a fault.
const GOOD_DEVICE: u64 = 999;

#[test]
fn each_single_fault_is_refused_for_its_reason_or_harmless() {
    let authority = Authority::new(KeyAlgorithm::EcP256);
    authority.accept_every_key("idevid");
    let engine = authority.open();
    let issuer_key = Node::parse(&authority.issuing_certificate())[0][6].clone();
    let good = device(KeyAlgorithm::EcP256, GOOD_DEVICE);
    let certificate = authority.issue(&engine, "idevid", good.request().unwrap());
    let promised = content(&certificate, good.serial_number());

    let mut problems = Vec::new();
    for (number, fault) in RequestFault::all().enumerate() {
        let csr = fault.apply(number as u64, (&authority.key, &issuer_key));
        let serial = device(fault.key, number as u64).serial_number().to_owned();
        if let Err(problem) = judge(&engine, fault, csr, &serial, &promised) {
            problems.push(format!("{}: {problem}", fault.name));
        }
    }
    engine.close().unwrap();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Reasons that only a profile and its issuer can give, which the report here knows nothing of.
const NOT_IN_REPORT: &[&str] = &["field-count", "field-value", "issuer-key", "requests-ca"];

/// Whether a request with a fault came to what it should.
fn judge(
    engine: &Engine,
    fault: &RequestFault,
    csr: Vec<u8>,
    serial: &str,
    promised: &[Vec<u8>; 2],
) -> Result<(), String> {
    let reported = report_csr(&csr);
    let result = engine.issue(Request::new(csr, "idevid"));
    match (fault.outcome, result) {
        (Outcome::Refused(reason), Err(IssueError::Rejected(rejection))) => {
            if !reported && !NOT_IN_REPORT.contains(&reason) {
                return Err("the report about the request has no finding".to_owned());
            }
            let told = format!("{} {rejection}", rejection.detail());
            if told.contains(MARKER) {
                return Err("the rejection repeats what the request said".to_owned());
            }
            (rejection.reason() == reason)
                .then_some(())
                .ok_or_else(|| format!("is {:?}: {rejection}", rejection.reason()))
        }
        (Outcome::Harmless, Ok(issued)) => {
            let certificate = issued.certificate.as_der();
            if holds(certificate, MARKER.as_bytes()) {
                return Err("the certificate repeats it".to_owned());
            }
            (content(certificate, serial) == *promised)
                .then_some(())
                .ok_or_else(|| "the certificate is not what it would have been".to_owned())
        }
        (_, result) => Err(format!("should be {:?}, is {result:?}", fault.outcome)),
    }
}

/// Subject and extensions of a certificate, with the device's serial number blanked.
fn content(certificate: &[u8], serial: &str) -> [Vec<u8>; 2] {
    let tree = Node::parse(certificate);
    [5, 7].map(|field| blank(&tree[0][field].encode(), serial.as_bytes()))
}

fn blank(octets: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = octets.to_vec();
    for at in 0..=out.len().saturating_sub(text.len()) {
        if out[at..].starts_with(text) {
            out[at..at + text.len()].fill(b'_');
        }
    }
    out
}

fn holds(octets: &[u8], text: &[u8]) -> bool {
    octets.windows(text.len()).any(|window| window == text)
}

#[test]
fn there_are_enough_faults_and_each_has_its_own_name() {
    let names: Vec<_> = RequestFault::all().map(|fault| fault.name).collect();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(names.len() >= 80, "{}", names.len());
}
