//! Every ready-made profile issues, passes the engine's own check, and openssl reads in the certificate what the
//! profile's standard asks for.

use std::collections::BTreeMap;
use std::fs;

use birthmark_engine::profile::{READY_MADE, ReadyMade};
use birthmark_engine::record::Record;
use birthmark_engine::{Engine, IssueStatus, OpenError, Profile, Request};
use birthmark_log::LogReader;

use crate::certificates::openssl_verifies;
use crate::requests::{from_pem, openssl};
use crate::station::{Factory, Signer, rejection};

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const P384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// One certificate of a profile: how it is asked for, and what openssl shows of it.
struct Sample {
    profile: &'static str,
    key: &'static [&'static str],
    subject: &'static str,
    /// The requested subject alternative name, as openssl writes it; empty for none.
    alt_name: &'static str,
    data: &'static [(&'static str, &'static str)],
    shows: &'static [&'static str],
    shows_not: &'static [&'static str],
}

const SIGNS: &str = "X509v3 Key Usage: critical\n                Digital Signature\n";
const NO_END: &str = "Not After : Dec 31 23:59:59 9999 GMT";
const NO_CA: &str = "X509v3 Basic Constraints: critical\n                CA:FALSE\n";

const SAMPLES: &[Sample] = &[
    Sample {
        profile: "idevid",
        key: P256,
        subject: "/CN=left out/serialNumber=SN-1",
        alt_name: "",
        data: &[],
        shows: &["Subject: serialNumber = SN-1\n", SIGNS, NO_END, "othername"],
        shows_not: &["Subject Key Identifier", "Basic Constraints", "left out"],
    },
    Sample {
        profile: "ldevid",
        key: P384,
        subject: "/serialNumber=SN-1",
        alt_name: "",
        data: &[],
        shows: &["Subject: O = Example Owner, serialNumber = SN-1\n", SIGNS],
        shows_not: &[NO_END],
    },
    Sample {
        profile: "tcg-idevid",
        key: RSA,
        subject: "/serialNumber=SN-1",
        alt_name: "",
        data: &[("tpm_serial", "STM:0f:1")],
        shows: &[
            SIGNS,
            NO_END,
            "Policy: 2.23.133.11.1.1\n",
            "Policy: 2.23.133.11.1.2\n",
        ],
        shows_not: &["2.23.133.11.1.3"],
    },
    Sample {
        profile: "tcg-iak",
        key: P256,
        subject: "/serialNumber=SN-1",
        alt_name: "",
        data: &[("tpm_serial", "STM:0f:1")],
        shows: &[
            SIGNS,
            "Policy: 2.23.133.11.1.1\n",
            "Policy: 2.23.133.11.1.3\n",
        ],
        shows_not: &["2.23.133.11.1.2"],
    },
    Sample {
        profile: "matter-dac",
        key: P256,
        subject: "/CN=DAC 1",
        alt_name: "",
        data: &[],
        shows: &[
            "CN = DAC 1, 1.3.6.1.4.1.37244.2.1 = FFF1, 1.3.6.1.4.1.37244.2.2 = 8000\n",
            SIGNS,
            NO_CA,
            "Subject Key Identifier",
        ],
        shows_not: &["Extended Key Usage"],
    },
    Sample {
        profile: "opcua-application",
        key: P256,
        subject: "/CN=Press 7",
        alt_name: "URI:urn:acme:press:7,DNS:press7.acme.example",
        data: &[],
        shows: &[
            "Subject: CN = Press 7, O = Example\n",
            "URI:urn:acme:press:7, DNS:press7.acme.example\n",
            SIGNS,
            NO_CA,
            "TLS Web Server Authentication, TLS Web Client Authentication\n",
        ],
        shows_not: &["Alternative Name: critical"],
    },
    Sample {
        profile: "opcua-application",
        key: RSA,
        subject: "/CN=Press 8",
        alt_name: "DNS:press8.acme.example,URI:urn:acme:press:8",
        data: &[],
        shows: &[
            "URI:urn:acme:press:8, DNS:press8.acme.example\n",
            "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment\n",
        ],
        shows_not: &[],
    },
    Sample {
        profile: "wi-sun-fan",
        key: P256,
        subject: "/serialNumber=0123456789abcdef",
        alt_name: "",
        data: &[],
        shows: &[
            "Subject: \n",
            "X509v3 Subject Alternative Name: critical\n",
            "Digital Signature, Key Agreement\n",
            "TLS Web Client Authentication, 1.3.6.1.4.1.45605.1\n",
            NO_END,
        ],
        shows_not: &["Subject Key Identifier", "Basic Constraints"],
    },
    Sample {
        profile: "iso15118-secc",
        key: P256,
        subject: "/CN=DEABCE1234567",
        alt_name: "",
        data: &[],
        shows: &[
            "CN = DEABCE1234567, O = Example CPO, C = DE, DC = CPO\n",
            "Digital Signature, Key Agreement\n",
            "OCSP - URI:http://ocsp.example/\n",
            NO_CA,
        ],
        shows_not: &[],
    },
    Sample {
        profile: "iso15118-contract",
        key: P256,
        subject: "/CN=DEABCC12345678X",
        alt_name: "",
        data: &[],
        shows: &[
            "CN = DEABCC12345678",
            "Digital Signature, Non Repudiation, Key Encipherment, Key Agreement\n",
            NO_CA,
        ],
        shows_not: &["OCSP"],
    },
    Sample {
        profile: "tls-client",
        key: P256,
        subject: "/CN=device-1",
        alt_name: "DNS:bank.example",
        data: &[],
        shows: &[
            "Subject: CN = device-1\n",
            SIGNS,
            "TLS Web Client Authentication\n",
        ],
        shows_not: &["bank.example"],
    },
    Sample {
        profile: "tls-server",
        key: P256,
        subject: "/CN=left out",
        alt_name: "DNS:gw-1.devices.example",
        data: &[],
        shows: &[
            "DNS:gw-1.devices.example\n",
            "TLS Web Server Authentication\n",
            SIGNS,
        ],
        shows_not: &["left out"],
    },
    Sample {
        profile: "matter-pai",
        key: P256,
        subject: "/CN=Acme PAI",
        alt_name: "",
        data: &[],
        shows: &[
            "CN = Acme PAI, 1.3.6.1.4.1.37244.2.1 = FFF1\n",
            "CA:TRUE, pathlen:0\n",
            "Certificate Sign, CRL Sign\n",
        ],
        shows_not: &["Digital Signature\n"],
    },
    Sample {
        profile: "matter-paa",
        key: P256,
        subject: "/CN=Acme PAA",
        alt_name: "",
        data: &[],
        shows: &["CA:TRUE, pathlen:1\n", "Certificate Sign, CRL Sign\n"],
        shows_not: &["37244"],
    },
];

/// A request by openssl with a new key.
fn request(factory: &Factory, key: &[&str], subject: &str, more: &[&str]) -> Vec<u8> {
    let path = factory.path("device.key");
    let path = path.to_str().unwrap();
    openssl(&[&["genpkey"], key, &["-out", path]].concat());
    let fixed = ["req", "-new", "-key", path, "-subj", subject];
    from_pem(&openssl(&[&fixed, more].concat()).stdout)
}

/// A station with these profiles only. The root issues, so that CAs can be certified too.
fn station(profiles: &[(&str, &str)]) -> Factory {
    let factory = Factory::new(Signer::P256);
    let configuration = fs::read_to_string(factory.configuration()).unwrap();
    let configuration = configuration
        .replace("\"issuing-ca.pem\"", "\"root/root-ca.pem\"")
        .replace("software:issuing-ca.key", "software:root/root-ca.key");
    let at = configuration.find("profiles = [").unwrap();
    let end = at + configuration[at..].find(']').unwrap();
    let files: Vec<String> = profiles
        .iter()
        .map(|(name, text)| {
            factory.file(&format!("ca/profiles/{name}.toml"), text);
            format!("profiles/{name}.toml")
        })
        .collect();
    let configuration = format!(
        "{}profiles = {files:?}{}",
        &configuration[..at],
        &configuration[end + 1..]
    );
    fs::write(factory.configuration(), configuration).unwrap();
    factory
}

fn asked(sample: &Sample, csr: Vec<u8>) -> Request {
    let mut request = Request::new(csr, sample.profile);
    let data = sample.data.iter();
    request.data = data
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    request
}

#[test]
fn every_ready_made_profile_issues_what_its_standard_asks_for() {
    let all: Vec<(&str, &str)> = READY_MADE.iter().map(|r| (r.name, r.toml)).collect();
    let factory = station(&all);
    let engine = factory.open();
    for sample in SAMPLES {
        let alt_name = format!("subjectAltName={}", sample.alt_name);
        let more: &[&str] = match sample.alt_name {
            "" => &[],
            _ => &["-addext", &alt_name],
        };
        let csr = request(&factory, sample.key, sample.subject, more);
        let issued = engine
            .issue(asked(sample, csr))
            .unwrap_or_else(|error| panic!("{}: {error}", sample.profile));
        assert_eq!(issued.status, IssueStatus::Issued);
        let path = factory.path("device.pem");
        fs::write(&path, issued.certificate.to_pem()).unwrap();
        openssl_verifies(&factory, &path, None);
        let shown = openssl(&["x509", "-noout", "-text", "-in", path.to_str().unwrap()]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        for line in sample.shows {
            assert!(
                shown.contains(line),
                "{}: {line:?} is not in\n{shown}",
                sample.profile
            );
        }
        for line in sample.shows_not {
            assert!(
                !shown.contains(line),
                "{}: {line:?} is in\n{shown}",
                sample.profile
            );
        }
        if sample.profile.starts_with("matter") {
            assert!(issued.certificate.as_der().len() <= 600);
        }
    }
    engine.close().unwrap();
    let tested = |ready: &ReadyMade| SAMPLES.iter().any(|sample| sample.profile == ready.name);
    assert!(READY_MADE.iter().all(tested), "every profile has a sample");
    assert_residency(&factory);
}

/// Records of TPM keys say that nobody asked the TPM, and no others do.
fn assert_residency(factory: &Factory) {
    let mut residencies: BTreeMap<String, Option<String>> = BTreeMap::new();
    for entry in LogReader::open(&factory.log()).unwrap().iter() {
        let bytes = entry.unwrap().1;
        if let Record::Issued(issued) = Record::decode(&bytes).unwrap() {
            let residency = issued.data.get("birthmark:residency");
            let residency = residency.map(|text| (*text).to_owned());
            residencies.insert(issued.profile.to_owned(), residency);
        }
    }
    for (profile, residency) in residencies {
        let expected = profile.starts_with("tcg").then_some("unproven");
        assert_eq!(residency.as_deref(), expected, "{profile}");
    }
}

/// Why a station with this profile does not start.
fn refused(factory: &Factory) -> String {
    match Engine::open(factory.station()) {
        Err(OpenError::Profiles(problem)) => problem,
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn a_profile_that_its_issuer_cannot_issue_stops_the_start() {
    // The issuing CA has a path length of 0.
    let factory = Factory::new(Signer::P256);
    factory.add_profile("matter-pai", ReadyMade::by_name("matter-pai").unwrap().toml);
    assert!(
        refused(&factory).contains("path length of 0"),
        "{}",
        refused(&factory)
    );
    // Matter signs with P-256 alone.
    let factory = Factory::new(Signer::Software(birthmark_hsm::KeyAlgorithm::EcP384));
    factory.add_profile("matter-dac", ReadyMade::by_name("matter-dac").unwrap().toml);
    assert!(refused(&factory).contains("P-256"), "{}", refused(&factory));
}

#[test]
fn names_of_requests_pass_only_where_every_one_matches() {
    let profile = "name = \"gateway\"\nbase = \"tls-server\"\nidentity = \"{csr.san.uri}\"\n\
        [[subject_alt_name]]\ntype = \"dns\"\nvalue = \"fixed.example\"\n\
        [requested_extensions.subject_alt_name]\npolicy = \"allow\"\n\
        dns = ['[a-z]+\\.lan', 'fixed\\.example']\nuri = ['urn:gw:[0-9]+']\nip = ['10\\.[0-9.]+']\n\
        [requested_extensions.key_usage]\npolicy = \"require\"\n\
        [validity]\ndays = 30\n[key]\nalgorithms = [\"p256\"]\n";
    let factory = station(&[("gateway", profile)]);
    let engine = factory.open();
    let ask = |names: &str, usage: &str| {
        let (names, usage) = (
            format!("subjectAltName={names}"),
            format!("keyUsage={usage}"),
        );
        let more = ["-addext", &names, "-addext", &usage];
        let more = if usage.ends_with('=') {
            &more[..2]
        } else {
            &more
        };
        let csr = request(&factory, P256, "/CN=x", more);
        engine.issue(Request::new(csr, "gateway"))
    };
    let issued = ask(
        "URI:urn:gw:1,DNS:a.lan,DNS:fixed.example,IP:10.0.0.7",
        "digitalSignature",
    );
    let path = factory.path("gateway.pem");
    fs::write(&path, issued.unwrap().certificate.to_pem()).unwrap();
    let shown = openssl(&["x509", "-noout", "-text", "-in", path.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let names = "DNS:fixed.example, URI:urn:gw:1, DNS:a.lan, IP Address:10.0.0.7\n";
    assert!(shown.contains(names), "{shown}");
    for (names, usage, why) in [
        (
            "URI:urn:gw:2,DNS:bank.example",
            "digitalSignature",
            "no pattern",
        ),
        (
            "URI:urn:gw:2,DNS:a.lan.evil",
            "digitalSignature",
            "no pattern",
        ),
        (
            "URI:urn:gw:2,IP:192.0.2.1",
            "digitalSignature",
            "no pattern",
        ),
        (
            "URI:urn:gw:2,email:a@a.lan",
            "digitalSignature",
            "no pattern",
        ),
        (
            "URI:urn:gw:2",
            "digitalSignature,keyEncipherment",
            "another value",
        ),
        ("URI:urn:gw:2", "", "must ask for it"),
    ] {
        let rejection = rejection(ask(names, usage));
        assert_eq!(rejection.reason(), "requested-extension", "{names}");
        assert!(rejection.detail().contains(why), "{rejection}");
    }
    engine.close().unwrap();
}

/// A device that asks with other names does not get the certificate with the names of its first request.
#[test]
fn names_taken_over_from_a_request_are_part_of_what_it_asks_for() {
    let profile = "name = \"gateway\"\nbase = \"tls-server\"\nidentity = \"{csr.subject.CN}\"\n\
        [[subject_alt_name]]\ntype = \"dns\"\nvalue = \"fixed.example\"\n\
        [requested_extensions.subject_alt_name]\npolicy = \"allow\"\ndns = ['[a-z]+\\.lan']\n\
        [validity]\ndays = 30\n[key]\nalgorithms = [\"p256\"]\n";
    let factory = station(&[("gateway", profile)]);
    let engine = factory.open();
    let first = request(
        &factory,
        P256,
        "/CN=gw",
        &["-addext", "subjectAltName=DNS:a.lan"],
    );
    let key = factory.path("device.key");
    let with = |names: &[&str]| {
        let fixed = [
            "req",
            "-new",
            "-key",
            key.to_str().unwrap(),
            "-subj",
            "/CN=gw",
        ];
        let csr = from_pem(&openssl(&[&fixed, names].concat()).stdout);
        engine.issue(Request::new(csr, "gateway"))
    };
    let issued = engine.issue(Request::new(first, "gateway")).unwrap();
    let again = with(&["-addext", "subjectAltName=DNS:a.lan"]).unwrap();
    assert_eq!(
        (again.status, again.certificate),
        (IssueStatus::Existing, issued.certificate)
    );
    for names in [&["-addext", "subjectAltName=DNS:b.lan"][..], &[]] {
        assert_eq!(
            rejection(with(names)).reason(),
            "changed-request",
            "{names:?}"
        );
    }
    engine.close().unwrap();
}

#[test]
fn values_that_do_not_fit_the_profile_are_refused() {
    let contract = ReadyMade::by_name("iso15118-contract").unwrap().toml;
    let server = ReadyMade::by_name("tls-server").unwrap().toml;
    let rsa = "name = \"big\"\nbase = \"tls-client\"\n[[subject]]\ntype = \"CN\"\n\
        value = \"{csr.subject.CN}\"\n[validity]\ndays = 1\n[key]\nalgorithms = [\"rsa\"]\n\
        rsa_bits_min = 3072\n";
    let factory = station(&[
        ("iso15118-contract", contract),
        ("tls-server", server),
        ("big", rsa),
    ]);
    let engine = factory.open();
    for (profile, key, subject, more, reason) in [
        (
            "iso15118-contract",
            P256,
            "/CN=DE-ABC-C12345678",
            "",
            "field-value",
        ),
        (
            "iso15118-contract",
            P384,
            "/CN=DEABCC12345678",
            "",
            "key-not-allowed",
        ),
        ("tls-server", P256, "/CN=x", "", "field-count"),
        (
            "tls-server",
            P256,
            "/CN=x",
            "DNS:a.devices.example,DNS:b.devices.example",
            "field-count",
        ),
        (
            "tls-server",
            P256,
            "/CN=x",
            "DNS:a.b.devices.example",
            "field-value",
        ),
        ("big", RSA, "/CN=x", "", "rsa-policy"),
    ] {
        let names = format!("subjectAltName={more}");
        let more: &[&str] = if more.is_empty() {
            &[]
        } else {
            &["-addext", &names]
        };
        let csr = request(&factory, key, subject, more);
        let rejection = rejection(engine.issue(Request::new(csr, profile)));
        assert_eq!(
            rejection.reason(),
            reason,
            "{profile} {subject}: {rejection}"
        );
    }
    engine.close().unwrap();
}

/// Nothing is signed that could not be released or logged, and the next device is served.
#[test]
fn certificates_over_a_limit_of_size_are_refused_before_anything_is_reserved() {
    let tiny = "name = \"tiny\"\nbase = \"tls-client\"\ncertificate_bytes_max = 400\n\
        identity = \"{csr.subject.CN}\"\n\
        [[subject]]\ntype = \"CN\"\nvalue = \"{csr.subject.CN}\"\n\
        [validity]\ndays = 1\n[key]\nalgorithms = [\"p256\"]\n";
    let long = "name = \"long\"\nbase = \"tls-server\"\nidentity = \"{csr.subject.CN}\"\n\
        [[subject_alt_name]]\ntype = \"dns\"\nvalue = \"fixed.example\"\n\
        [requested_extensions.subject_alt_name]\npolicy = \"allow\"\nuri = ['urn:[a-z0-9:]+']\n\
        [validity]\ndays = 1\n[key]\nalgorithms = [\"p256\"]\n";
    let factory = station(&[("tiny", tiny), ("long", long)]);
    let engine = factory.open();
    let names: Vec<String> = (0..32)
        .map(|number| format!("URI:urn:{number:02}:{}", "x".repeat(2_028)))
        .collect();
    let names = format!("subjectAltName={}", names.join(","));
    for (profile, names, expected) in [
        ("tiny", None, (412, "certificate-too-large", "REWORK")),
        // So many names never get as far.
        ("long", Some(&names), (104, "over-limit", "REWORK")),
    ] {
        let more = names.map_or(vec![], |names| vec!["-addext", names]);
        let csr = request(&factory, P256, "/CN=x", &more);
        let before = engine.metrics().lost;
        let rejection = rejection(engine.issue(Request::new(csr, profile)));
        assert_eq!(
            (
                rejection.number(),
                rejection.reason(),
                rejection.action().to_string().as_str()
            ),
            expected,
            "{profile}: {rejection}"
        );
        assert_eq!(engine.metrics().lost, before);
    }
    let csr = request(&factory, P256, "/CN=y", &[]);
    engine.issue(Request::new(csr, "long")).unwrap();
    engine.close().unwrap();
}

#[test]
fn a_profile_at_rest_is_the_one_in_the_record() {
    for ready in READY_MADE {
        let profile = Profile::parse(ready.toml, ready.name.as_ref()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ready.toml.as_bytes());
        assert_eq!(profile.digest()[..], *digest.as_ref());
    }
}
