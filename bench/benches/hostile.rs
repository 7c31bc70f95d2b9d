//! Requests of up to 64 KiB that are made to cost: the processor's time that each takes before it is refused, whatever else the
//! machine does. `make bench` runs them; none may take a millisecond.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench that cannot run has to stop"
)]

use std::hint::black_box;
use std::time::Duration;

use birthmark_bench::Ca;
use birthmark_engine::{CSR_BYTES_MAX, stages};
use birthmark_hsm::{KeyAlgorithm, RsaSignature};
use birthmark_loadgen::device::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const ATTRIBUTES: u8 = 0xa0;
const URI: u8 = 0x86;

/// extensionRequest of PKCS #9, and the identifier that Microsoft's tools used before it.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
const MICROSOFT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];

/// Octets that the frame around a filling may have. An ML-DSA-87 key and signature take twice as many.
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

/// A request before it is signed: version, subject, key and attributes, DER.
struct Info {
    device: Device,
    subject: Vec<u8>,
    key: Vec<u8>,
    attributes: Vec<Vec<u8>>,
}

impl Info {
    fn of(algorithm: KeyAlgorithm) -> Self {
        let device = Device::make(algorithm, 1, 0).unwrap();
        let csr = device.request().unwrap();
        let (_, csr, _) = split(&csr);
        let (_, info, _) = split(csr);
        let (_, _, rest) = split(info);
        let (subject, _, _) = split(rest);
        Self {
            subject: subject.to_vec(),
            key: device.public_key_info().unwrap(),
            attributes: Vec::new(),
            device,
        }
    }

    fn with_attributes(mut self, attributes: Vec<Vec<u8>>) -> Self {
        self.attributes = attributes;
        self
    }

    /// The request with this signature over its info, or whatever `sign` makes of it.
    fn request(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let attributes = der(ATTRIBUTES, &self.attributes.concat());
        let version = [0x02, 1, 0];
        let info = [&version, &self.subject[..], &self.key, &attributes].concat();
        let info = der(SEQUENCE, &info);
        let signature = der(BIT_STRING, &[&[0][..], &sign(&info)].concat());
        let algorithm = self.device.signature_algorithm();
        let csr = der(SEQUENCE, &[info, algorithm, signature].concat());
        assert!(csr.len() <= CSR_BYTES_MAX, "{} octets", csr.len());
        csr
    }

    /// With a signature of the device's that is over something else.
    fn forged(&self) -> Vec<u8> {
        self.request(|_| self.device.sign(b"another info").unwrap())
    }

    /// With the device's signature.
    fn signed(&self) -> Vec<u8> {
        self.request(|info| self.device.sign(info).unwrap())
    }
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

/// An identifier of the most octets, all of it long arcs.
fn identifier() -> Vec<u8> {
    let arc = [&[0x81; 18][..], &[0x01]].concat();
    der(OID, &arc.repeat(3))
}

/// So many attributes, of different types and of values as large as fit.
fn attributes(count: u8) -> Vec<Vec<u8>> {
    let octets = (FILLING_BYTES - FRAME_BYTES) / usize::from(count) - 32;
    let value = der(OCTET_STRING, &vec![0; octets]);
    (0..count).map(|n| attribute(&[0x2a, n], &value)).collect()
}

/// A name of RDNs of one attribute each.
fn name(attributes: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let rdns = attributes.map(|(oid, text)| {
        let pair = [der(OID, &oid), der(PRINTABLE_STRING, &text)].concat();
        der(SET, &der(SEQUENCE, &pair))
    });
    der(SEQUENCE, &rdns.collect::<Vec<_>>().concat())
}

/// As many attributes as are read, and two extension requests as large as can be, with one content.
fn extensions() -> Vec<Vec<u8>> {
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

/// What is refused by its form alone.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let text = "\u{20ac}".repeat(FILLING_BYTES / 3);
    let mut text = der(UTF8_STRING, text.as_bytes());
    *text.last_mut().unwrap() = 0xff;
    let identifiers = identifier().repeat(FILLING_BYTES / identifier().len());
    let mut names = Info::of(KeyAlgorithm::EcP256);
    names.subject = name((0..32).map(|_| (vec![0x55, 4, 3], vec![b'a'; 1800])));
    let mut over = Info::of(KeyAlgorithm::EcP256);
    over.subject = name((0..200).map(|_| (vec![0x55, 4, 3], vec![b'a'; 250])));
    vec![
        ("nested", nested()),
        ("values", der(SEQUENCE, &[5, 0].repeat(FILLING_BYTES / 2))),
        ("sets", sets()),
        ("identifiers", der(SEQUENCE, &identifiers)),
        ("text", text),
        ("subject of 200 attributes", over.forged()),
        ("subject of 32 attributes, forged P-256", names.forged()),
    ]
}

/// What is refused once its signature was looked at.
fn forged() -> Vec<(String, Vec<u8>)> {
    let of = |algorithm, attributes| Info::of(algorithm).with_attributes(attributes);
    let identifiers = identifier().repeat(900);
    let identifiers = || vec![attribute(&[0x2a, 3], &der(SEQUENCE, &identifiers))];
    // A signature's verification, and the dearest that parsing may be before it.
    let mut inputs = vec![
        (
            "extensions, forged P-256".to_owned(),
            of(KeyAlgorithm::EcP256, extensions()).forged(),
        ),
        (
            "extensions, forged P-521".to_owned(),
            of(KeyAlgorithm::EcP521, extensions()).forged(),
        ),
        (
            "identifiers, forged P-521".to_owned(),
            of(KeyAlgorithm::EcP521, identifiers()).forged(),
        ),
        (
            "32 attributes, forged P-521".to_owned(),
            of(KeyAlgorithm::EcP521, attributes(32)).forged(),
        ),
    ];
    let mut off_curve = of(KeyAlgorithm::EcP521, attributes(1));
    *off_curve.key.last_mut().unwrap() ^= 1;
    inputs.push(("P-521 point off its curve".to_owned(), off_curve.forged()));
    let mut pss = of(KeyAlgorithm::Rsa4096, attributes(1));
    pss.device = pss.device.with_rsa_signature(RsaSignature::Pss);
    inputs.push(("forged RSA-4096 with PSS".to_owned(), pss.forged()));
    // The most that a hash and a verification cost together.
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::EcP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::Rsa4096,
        KeyAlgorithm::MlDsa87,
    ] {
        let csr = of(algorithm, attributes(1)).forged();
        inputs.push((format!("forged {algorithm}"), csr));
    }
    inputs
}

/// What proves possession of its key and is refused by its profile, as late as can be: behind weak keys, names
/// and patterns.
fn unwanted() -> Vec<(&'static str, Vec<u8>)> {
    let of = Info::of;
    let mut long = of(KeyAlgorithm::EcP521);
    let serial = (SERIAL_NUMBER.to_vec(), vec![b'7'; FILLING_BYTES - 1024]);
    long.subject = name(std::iter::once(serial));
    let mut rsa = of(KeyAlgorithm::Rsa4096);
    rsa.subject = long.subject.clone();
    let names = |count| of(KeyAlgorithm::EcP521).with_attributes(requested_uris(count));
    vec![
        ("serial number too long, P-521", long.signed()),
        ("serial number too long, RSA-4096", rsa.signed()),
        ("30 URIs of 2 KB, 16 patterns, P-521", names(30).signed()),
        ("2 URIs of 2 KB, 16 patterns, P-521", names(2).signed()),
    ]
}

/// So many URIs of 2,009 octets in an extension request, of which the last fits no pattern.
fn requested_uris(count: usize) -> Vec<Vec<u8>> {
    let uris = (1..=count).map(|number| {
        let last = if number == count { "Q" } else { "z" };
        format!("urn:a{number:02}:{}{last}", "z".repeat(2000))
    });
    vec![asking_for(uris)]
}

/// These URIs in an extension request.
fn asking_for(uris: impl Iterator<Item = String>) -> Vec<u8> {
    let uris = uris.map(|uri| der(URI, uri.as_bytes()));
    let uris = der(SEQUENCE, &uris.collect::<Vec<_>>().concat());
    let names = [der(OID, SUBJECT_ALT_NAME), der(OCTET_STRING, &uris)].concat();
    let request = der(SEQUENCE, &der(SEQUENCE, &names));
    attribute(EXTENSION_REQUEST, &request)
}

/// As many octets of names as are looked at, each of them by all patterns of [`profile_of_tables`], and the largest
/// attribute beside them. A requested name ends in one of `ends`, and the last pattern wants this to begin with an "a".
fn many_names(algorithm: KeyAlgorithm, ends: [&str; 2]) -> Vec<u8> {
    let mut request = Info::of(algorithm);
    let organization = format!("urn:{}", letters(URI_BYTES, 1)).into_bytes();
    let common_name = vec![b'b'; 255];
    request.subject = name(
        [(COMMON_NAME, common_name), (ORGANIZATION, organization)]
            .into_iter()
            .map(|(oid, text)| (oid.to_vec(), text)),
    );
    let uris = ends.into_iter().zip([2, 3]);
    let uris = uris.map(|(end, seed)| format!("urn:{}{end}", letters(URI_BYTES - 7, seed)));
    let filling = FILLING_BYTES - 2 * FRAME_BYTES;
    // In this order, as a SET OF has them (X.690 §11.6).
    request.attributes = vec![
        asking_for(uris),
        attribute(&[0x2a, 1], &der(OCTET_STRING, &vec![0; filling])),
    ];
    request.signed()
}

/// Letters of the longest URI behind its scheme.
const URI_BYTES: usize = 2048 - "urn:".len();

/// So many letters a and b in no order (Marsaglia's xorshift).
fn letters(count: usize, mut seed: u64) -> String {
    let letter = |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if seed >> 40 & 1 == 0 { 'a' } else { 'b' }
    };
    (0..count).map(letter).collect()
}

/// The dearest profile that was found among those that load: patterns for all names that there may be. Those for requested
/// names remember which of the last octets were an "a", so that text without order visits all rows of tables of 17 and 9 KB, which have
/// all the octets that a profile's tables may have together.
fn profile_of_tables() -> String {
    let mut profile = "name = \"t\"\nbase = \"custom\"\nidentity = \"{csr.key.id}\"\n\
        [validity]\nhours = 8\n[key]\nalgorithms = [\"p521\", \"rsa\"]\n\
        [extensions]\nkey_usage = [\"digitalSignature\"]\n"
        .to_owned();
    for number in 0..16 {
        profile += &format!(
            "[[subject]]\noid = \"1.2.3.{number}\"\nstring = \"utf8\"\nvalue = \"{{csr.subject.CN}}\"\npattern = 'b*x?'\n\
             [[subject_alt_name]]\ntype = \"uri\"\nvalue = \"{{csr.subject.O}}\"\npattern = 'urn:[ab]*x?'\n"
        );
    }
    let patterns = (0..16).map(|number| match number {
        0..12 => format!("'urn:[ab]*a[ab]{{7}}x{{{number}}}c'"),
        12..15 => format!("'urn:[ab]*a[ab]{{6}}x{{{number}}}c'"),
        _ => "'urn:[ab]*a[ab]{6}'".to_owned(),
    });
    let patterns = patterns.collect::<Vec<_>>().join(", ");
    profile
        + &format!(
            "[requested_extensions.subject_alt_name]\npolicy = \"allow\"\nuri = [{patterns}]\n"
        )
}

/// The `idevid` profile for all keys, with as many patterns for requested names as there may be, of which only the last fits.
fn profile_of_patterns() -> String {
    const KEYS: &str = "[\"p521\", \"rsa\"]";
    let profile = birthmark_engine::profile::IDEVID_TOML;
    let (rest, _) = profile.split_once("algorithms = ").unwrap();
    let patterns = (0..16).map(|number| match number {
        15 => "'urn:a[0-9]{2}:z{1,900}[a-z]*'".to_owned(),
        _ => format!("'urn:a[0-9]+:([a-y]|z)*[0-9]{{{number}}}x'"),
    });
    let patterns = patterns.collect::<Vec<_>>().join(", ");
    format!(
        "{rest}algorithms = {KEYS}\n[requested_extensions.subject_alt_name]\npolicy = \"allow\"\nuri = [{patterns}]\n"
    )
}

fn hostile(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostile");
    let malformed = malformed().into_iter();
    let malformed = malformed.map(|(name, csr)| (name.to_owned(), csr));
    for (name, csr) in malformed.chain(forged()) {
        group.bench_function(name, |b| {
            b.iter_custom(|times| cpu_time(times, || !stages::verify_csr(black_box(&csr))));
        });
    }
    let ca = Ca::software().unwrap();
    let (bench, _) = ca.stages_of(&profile_of_patterns()).unwrap();
    for (name, csr) in unwanted() {
        assert!(stages::verify_csr(&csr), "{name}");
        group.bench_function(name, |b| {
            b.iter_custom(|times| cpu_time(times, || bench.refuses(black_box(&csr))));
        });
    }
    let (bench, _) = ca.stages_of(&profile_of_tables()).unwrap();
    for algorithm in [KeyAlgorithm::EcP521, KeyAlgorithm::Rsa4096] {
        let (fits, differs) = ("abbbbbb", "bbbbbbb");
        let csr = many_names(algorithm, [fits, differs]);
        assert!(stages::verify_csr(&csr), "{algorithm}");
        assert!(!bench.refuses(&many_names(algorithm, [fits, fits])));
        group.bench_function(format!("URIs in the largest tables, {algorithm}"), |b| {
            b.iter_custom(|times| cpu_time(times, || bench.refuses(black_box(&csr))));
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
