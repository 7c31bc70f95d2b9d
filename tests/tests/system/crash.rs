//! SIGKILL under load, again and again, as a power cut does it to the process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use birthmark_engine::record::Record;
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::Corpus;
use serde_json::Value;

use crate::binary::{assert_code, command, lines};
use crate::requests::{Key, from_pem, name, pem};
use crate::station::{Entry, Factory, Random, Signer};

/// Requests in one corpus. Their results are some 3 MB: the pipe holds 64 KiB, so the binary can
/// not have finished when a test has read nine tenths of them.
const REQUESTS: u64 = 2_500;

/// Corpora; each is run and killed several times.
const CORPORA: usize = 3;

/// Runs of each corpus that end by SIGKILL.
const KILLS: usize = 4;

const SEED: u64 = 0x0051_9a1f;

#[test]
fn nothing_acknowledged_is_lost_software_p256() {
    kill_and_restart(Signer::P256);
}

#[test]
fn nothing_acknowledged_is_lost_softhsm_p256() {
    kill_and_restart(Signer::SoftHsm(KeyAlgorithm::EcP256));
}

/// What was acknowledged, by corpus and input.
type Acknowledged = HashMap<(usize, String), Line>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    serial: String,
    index: u64,
    certificate: Vec<u8>,
}

impl Line {
    fn new(line: &Value) -> Line {
        Line {
            serial: line["serial"].as_str().unwrap().to_owned(),
            index: line["index"].as_u64().unwrap(),
            certificate: from_pem(line["certificate"].as_str().unwrap().as_bytes()),
        }
    }
}

fn kill_and_restart(signer: Signer) {
    let factory = Factory::for_binary(signer);
    let corpora: Vec<String> = (0..CORPORA)
        .map(|number| {
            let path = factory.path(&format!("{number}.corpus"));
            let seed = 100 + number as u64;
            Corpus::make(&path, REQUESTS, KeyAlgorithm::EcP256, seed, &mut |_| {}).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let mut random = Random::new(SEED);
    let mut acknowledged = Acknowledged::new();
    for (number, corpus) in corpora.iter().enumerate() {
        for kill in 0..KILLS {
            let killed = run_and_kill(&factory, &[corpus], kill, &mut random);
            remember(&mut acknowledged, number, killed);
            assert_there(&factory, &acknowledged);
        }
    }

    // Once more to the end: what was acknowledged comes back as it was, the rest is made now.
    for (number, corpus) in corpora.iter().enumerate() {
        let output = factory.issue(&["--quiet", corpus], b"");
        assert_code(&output, 0);
        let results = lines(&output);
        assert_eq!(results.len() as u64, REQUESTS);
        for (position, line) in results.iter().enumerate() {
            let input = line["input"].as_str().unwrap();
            assert_eq!(input, format!("corpus#{position}"));
            let known = acknowledged.contains_key(&(number, input.to_owned()));
            assert!(
                !known || line["status"] == "existing",
                "seed {SEED:#x}: {input} came twice"
            );
        }
        remember(&mut acknowledged, number, results);
    }
    assert_eq!(acknowledged.len() as u64, REQUESTS * CORPORA as u64);
    assert_there(&factory, &acknowledged);
    let entries = factory.assert_sound();
    let issued = entries
        .iter()
        .filter(|entry| entry.certificate().is_some())
        .count();
    let lost = entries.iter().filter(|entry| entry.is_lost()).count();
    assert_eq!(
        issued as u64,
        REQUESTS * CORPORA as u64,
        "one certificate per device"
    );
    let activated = |entry: &&Entry| matches!(entry, Entry::Activated { .. });
    let starts = entries.iter().filter(activated).count();
    let runs = match signer {
        Signer::SoftHsm(_) => CORPORA..=CORPORA * (KILLS + 1),
        _ => 0..=0,
    };
    assert!(runs.contains(&starts), "{starts} starts are recorded");
    assert_eq!(issued + lost + starts, entries.len());
    assert!(factory.verify().clean);
    crate::report(format_args!(
        "{} runs ended by SIGKILL on {signer:?}, {lost} lost records",
        CORPORA * KILLS
    ));
}

/// An IDevID profile that gives a device another certificate when its work order changes.
const REISSUED_PROFILE: &str = r#"
name = "idevid"
base = "idevid"
reissue = "same-key"

[[subject]]
type = "O"
value = "{data.order}"

[[subject]]
type = "serialNumber"
value = "{csr.subject.serialNumber}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
"#;

/// Every device is issued, and then reissued under one work order after the other; each run is killed and
/// done again. However far a run had come, every device has one record for each order, and each of them
/// replaces the one before.
#[test]
fn reissues_that_are_killed_are_not_made_twice() {
    const ORDERS: usize = KILLS + 1;
    let factory = Factory::for_binary(Signer::P256);
    factory.file("ca/profiles/idevid.toml", REISSUED_PROFILE);
    let corpus = factory.path("devices.corpus");
    Corpus::make(&corpus, REQUESTS, KeyAlgorithm::EcP256, 200, &mut |_| {}).unwrap();
    let corpus = corpus.to_str().unwrap();
    let mut random = Random::new(SEED);
    let mut acknowledged = Acknowledged::new();
    for order in 0..ORDERS {
        let data = format!("order=A-{order}");
        let arguments = ["--data", &data, corpus];
        let killed = run_and_kill(&factory, &arguments, order, &mut random);
        remember(&mut acknowledged, order, killed);
        assert_there(&factory, &acknowledged);
        let output = factory.issue(&[&["--quiet"], &arguments[..]].concat(), b"");
        assert_code(&output, 0);
        remember(&mut acknowledged, order, lines(&output));
    }
    assert_there(&factory, &acknowledged);
    let mut chains: HashMap<String, Vec<u64>> = HashMap::new();
    for (index, entry) in (0..).zip(factory.assert_sound()) {
        if let Entry::Issued {
            identity, replaces, ..
        } = entry
        {
            let chain = chains.entry(identity.unwrap()).or_default();
            assert_eq!(
                replaces,
                chain.last().copied(),
                "seed {SEED:#x}: record {index}"
            );
            chain.push(index);
        }
    }
    assert_eq!(chains.len() as u64, REQUESTS);
    for (identity, chain) in &chains {
        assert_eq!(chain.len(), ORDERS, "seed {SEED:#x}: {identity}");
    }
    // The first order is over for all of them.
    let again = factory.issue(&["--quiet", "--data", "order=A-0", corpus], b"");
    assert_code(&again, 1);
    let results = lines(&again);
    assert_eq!(results.len() as u64, REQUESTS);
    assert!(results.iter().all(|line| line["reason"] == "superseded"));
}

/// Devices whose requests carry only a key get their serial numbers here; each run is killed and done again. However
/// far a run had come, every device has one number and every number one device.
#[test]
fn serial_numbers_that_are_handed_out_survive_kills() {
    let factory = Factory::for_binary(Signer::P256);
    let numbered = "identity_domain = \"idevid\"\n".to_owned()
        + &birthmark_engine::profile::IDEVID_TOML.replace("{csr.subject.serialNumber}", "{serial}");
    let range = format!("[serial]\nfrom = \"SN00001\"\nto = \"SN{REQUESTS:05}\"\n");
    factory.file("ca/profiles/idevid.toml", numbered + &range);
    let requests: String = (0..REQUESTS)
        .map(|_| Key::generate().request_with(name(&[]), &[]))
        .map(|der| pem("CERTIFICATE REQUEST", &der))
        .collect();
    let requests = factory.file("keys.pem", requests);
    let mut random = Random::new(SEED);
    let mut acknowledged = Acknowledged::new();
    for kill in 0..KILLS {
        let killed = run_and_kill(&factory, &[&requests], kill, &mut random);
        remember(&mut acknowledged, 0, killed);
        assert_there(&factory, &acknowledged);
    }
    let output = factory.issue(&["--quiet", &requests], b"");
    assert_code(&output, 0);
    remember(&mut acknowledged, 0, lines(&output));
    assert_there(&factory, &acknowledged);
    let mut numbers: Vec<String> = Vec::new();
    for entry in factory.assert_sound() {
        if let Entry::Issued { identity, .. } = entry {
            numbers.push(identity.unwrap());
        }
    }
    numbers.sort();
    let all: Vec<String> = (1..=REQUESTS)
        .map(|number| format!("SN{number:05}"))
        .collect();
    assert_eq!(numbers, all, "seed {SEED:#x}");
}

/// Two thirds of the devices have a place in the lot; each run is killed and done again. However far a run had come,
/// as many certificates are there in the end as the lot authorizes, each with a place of its own.
#[test]
fn a_lot_survives_kills() {
    const QUANTITY: u64 = REQUESTS * 2 / 3;
    let factory = Factory::for_binary(Signer::P256);
    let configuration = std::fs::read_to_string(factory.configuration()).unwrap();
    let lots = "\n[lots]\ndirectory = \"lots\"\nrequired = true\n";
    factory.file("ca/birthmark.toml", configuration + lots);
    let lot = format!("name = \"WO-1\"\nprofile = \"idevid\"\nquantity = {QUANTITY}\n");
    factory.file("ca/lots/wo-1.toml", lot);
    let corpus = factory.path("devices.corpus");
    Corpus::make(&corpus, REQUESTS, KeyAlgorithm::EcP256, 300, &mut |_| {}).unwrap();
    let arguments = ["--lot", "WO-1", corpus.to_str().unwrap()];
    let mut random = Random::new(SEED);
    let mut acknowledged = Acknowledged::new();
    let answered = |lines: Vec<Value>| -> Vec<Value> {
        let (rejected, answered): (Vec<Value>, Vec<Value>) = lines
            .into_iter()
            .partition(|line| line["status"] == "rejected");
        assert!(
            rejected
                .iter()
                .all(|line| line["reason"] == "lot-exhausted")
        );
        answered
    };
    for kill in 0..KILLS {
        let killed = run_and_kill(&factory, &arguments, kill, &mut random);
        remember(&mut acknowledged, 0, answered(killed));
        assert_there(&factory, &acknowledged);
    }
    let output = factory.issue(&[&["--quiet"], &arguments[..]].concat(), b"");
    assert_code(&output, 1);
    let answered = answered(lines(&output));
    assert_eq!(answered.len() as u64, QUANTITY, "seed {SEED:#x}");
    remember(&mut acknowledged, 0, answered);
    assert_there(&factory, &acknowledged);
    factory.assert_sound();
    let reader = birthmark_log::LogReader::open(&factory.log()).unwrap();
    let mut places: Vec<u64> = Vec::new();
    for entry in reader.iter() {
        let (_, record) = entry.unwrap();
        if let Record::Issued(issued) = Record::decode(&record).unwrap() {
            places.push(issued.lot_place().unwrap().1);
        }
    }
    places.sort_unstable();
    assert!(places.into_iter().eq(0..QUANTITY), "seed {SEED:#x}");
}

/// Starts the binary, kills it at a random moment, and gives the whole lines it had written.
fn run_and_kill(factory: &Factory, more: &[&str], kill: usize, random: &mut Random) -> Vec<Value> {
    let configuration = factory.configuration();
    let mut arguments = factory.issue_arguments(&configuration);
    arguments.push("--quiet");
    arguments.extend(more);
    let mut child = command(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = Vec::new();
    // The last kill of each corpus comes early, while the log of the one before is recovered.
    if kill + 1 < KILLS {
        let count = REQUESTS * 9 / 10;
        for _ in 0..random.below(count) {
            if output.read_until(b'\n', &mut text).unwrap() == 0 {
                let ended = child.wait_with_output().unwrap();
                panic!("seed {SEED:#x}: it ended by itself: {ended:?}");
            }
        }
    }
    sleep(Duration::from_micros(random.below(20_000)));
    child.kill().unwrap();
    // What it wrote before it was killed is acknowledged, read or not.
    output.read_to_end(&mut text).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(9),
        "seed {SEED:#x}: it ended by itself: {status}"
    );
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let text = std::str::from_utf8(&text[..whole]).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Adds results to what is acknowledged. What was there must be the same.
fn remember(acknowledged: &mut Acknowledged, corpus: usize, results: Vec<Value>) {
    for line in results {
        let status = line["status"].as_str().unwrap();
        assert!(
            matches!(status, "issued" | "existing"),
            "seed {SEED:#x}: {line}"
        );
        let key = (corpus, line["input"].as_str().unwrap().to_owned());
        let line = Line::new(&line);
        match acknowledged.get(&key) {
            None => drop(acknowledged.insert(key, line)),
            Some(known) => {
                assert_eq!(
                    status, "existing",
                    "seed {SEED:#x}: {key:?} was issued twice"
                );
                assert_eq!(known, &line, "seed {SEED:#x}: {key:?}");
            }
        }
    }
}

/// Every acknowledged certificate stands in the log where it was said to stand, right after the
/// kill, before anything is recovered.
fn assert_there(factory: &Factory, acknowledged: &Acknowledged) {
    factory.verify();
    let entries = factory.entries();
    for (key, line) in acknowledged {
        let entry = entries.get(line.index as usize);
        let certificate = entry.and_then(|entry| entry.certificate());
        assert_eq!(
            certificate,
            Some(&*line.certificate),
            "seed {SEED:#x}: {key:?}"
        );
    }
}
