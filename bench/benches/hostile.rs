//! Requests of 64 KiB that are made to cost: the processor's time that each takes before it is refused, whatever else the
//! machine does. `make bench` runs them; none may take a millisecond.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench that cannot run has to stop"
)]

use std::hint::black_box;
use std::time::Duration;

use birthmark_engine::{CSR_BYTES_MAX, stages};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const ATTRIBUTES: u8 = 0xa0;

/// Octets that the frame around a filling may have.
const FRAME_BYTES: usize = 4096;
const FILLING_BYTES: usize = CSR_BYTES_MAX - FRAME_BYTES;

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        0x100..0x1_0000 => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        _ => vec![
            tag,
            0x83,
            (length >> 16) as u8,
            (length >> 8) as u8,
            length as u8,
        ],
    };
    [&header, content].concat()
}

/// The first value and what follows: whole, content, rest.
fn split(input: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (header, length) = match input[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let octets = usize::from(long & 0x7f);
            let length = input[2..2 + octets].iter();
            (
                2 + octets,
                length.fold(0, |sum, octet| sum << 8 | usize::from(*octet)),
            )
        }
    };
    (
        &input[..header + length],
        &input[header..header + length],
        &input[header + length..],
    )
}

/// A device's request with other attributes: everything else is sound, the signature is one of this key, and it
/// does not verify.
fn with_attributes(algorithm: KeyAlgorithm, attributes: &[Vec<u8>]) -> Vec<u8> {
    let csr = Device::make(algorithm, 1, 0).unwrap().request().unwrap();
    let (_, csr, _) = split(&csr);
    let (_, info, signed) = split(csr);
    let (version, _, rest) = split(info);
    let (subject, _, rest) = split(rest);
    let (key, _, _) = split(rest);
    let attributes = der(ATTRIBUTES, &attributes.concat());
    let info = der(SEQUENCE, &[version, subject, key, &attributes].concat());
    let csr = der(SEQUENCE, &[&info, signed].concat());
    assert!(csr.len() <= CSR_BYTES_MAX);
    csr
}

fn attribute(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[der(OID, oid), der(SET, value)].concat())
}

/// Values in values: as many as are followed, and one more.
fn nested() -> Vec<u8> {
    let filling = der(OCTET_STRING, &vec![0; FILLING_BYTES]);
    (0..17).fold(filling, |inner, _| der(SEQUENCE, &inner))
}

/// SETs in SETs of neighbors that differ in the last octet only, so that each is compared whole at every level.
fn sets() -> Vec<u8> {
    let mut level = der(OCTET_STRING, &[0; 220]);
    for _ in 0..8 {
        let mut larger = level.clone();
        *larger.last_mut().unwrap() += 1;
        level = der(SET, &[level, larger].concat());
    }
    level
}

/// Identifiers of the most octets, all of them long arcs, without end.
fn identifiers() -> Vec<u8> {
    let arc = [&[0x81; 18][..], &[0x01]].concat();
    let oid = der(OID, &arc.repeat(3));
    der(SEQUENCE, &oid.repeat(FILLING_BYTES / oid.len()))
}

/// As many attributes as are read, and two extension requests as large as can be, with one content.
fn extensions() -> Vec<Vec<u8>> {
    const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
    const MICROSOFT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e];
    let all = (0..32u8).map(|number| {
        let oid = [&[0x2a; 63][..], &[number]].concat();
        let values = der(BOOLEAN, &[0xff]).repeat(280);
        let value = der(OCTET_STRING, &der(SEQUENCE, &values));
        der(SEQUENCE, &[der(OID, &oid), value].concat())
    });
    let all = der(SEQUENCE, &all.collect::<Vec<_>>().concat());
    vec![
        attribute(EXTENSION_REQUEST, &all),
        attribute(MICROSOFT, &all),
    ]
}

fn inputs() -> Vec<(String, Vec<u8>)> {
    let text = "\u{20ac}".repeat(FILLING_BYTES / 3);
    let mut text = der(UTF8_STRING, text.as_bytes());
    *text.last_mut().unwrap() = 0xff;
    let mut inputs = vec![
        ("nested".to_owned(), nested()),
        (
            "values".to_owned(),
            der(SEQUENCE, &[5, 0].repeat(FILLING_BYTES / 2)),
        ),
        ("sets".to_owned(), sets()),
        ("identifiers".to_owned(), identifiers()),
        ("text".to_owned(), text),
        (
            "extensions".to_owned(),
            with_attributes(KeyAlgorithm::EcP256, &extensions()),
        ),
    ];
    // The most that a hash and a verification cost together.
    let filling = [attribute(
        &[0x2a, 3],
        &der(OCTET_STRING, &vec![0; FILLING_BYTES - 4096]),
    )];
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa4096,
        KeyAlgorithm::MlDsa87,
    ] {
        inputs.push((
            format!("forged {algorithm}"),
            with_attributes(algorithm, &filling),
        ));
    }
    inputs
}

fn hostile(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile");
    for (name, csr) in inputs() {
        group.bench_function(name, |b| {
            b.iter_custom(|times| cpu_time(times, || !stages::verify_csr(black_box(&csr))));
        });
    }
    // Behind a signature that verifies: a sound modulus takes every test to its end.
    for octets in [256, 512] {
        let modulus = sound_modulus(octets);
        group.bench_function(format!("weakness of RSA, {} bits", octets * 8), |b| {
            b.iter_custom(|times| {
                cpu_time(times, || stages::rsa_modulus_is_sound(black_box(&modulus)))
            });
        });
    }
}

/// What this thread spends on so many calls, each of which must hold.
fn cpu_time(times: u64, call: impl Fn() -> bool) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    };
    let start = now();
    (0..times).for_each(|_| assert!(call()));
    now() - start
}

/// A number of this size that has no small factor and passes every test: no modulus, but it costs like one.
fn sound_modulus(octets: usize) -> Vec<u8> {
    (0..=u8::MAX)
        .flat_map(|high| (0..=u8::MAX).map(move |low| (high, low)))
        .map(|(high, low)| {
            let mut modulus = vec![0xc5; octets];
            modulus[octets / 2] = high;
            modulus[octets - 1] = low | 1;
            modulus
        })
        .find(|modulus| stages::rsa_modulus_is_sound(modulus))
        .unwrap()
}

criterion_group!(benches, hostile);
criterion_main!(benches);
