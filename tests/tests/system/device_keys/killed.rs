//! SIGKILL while keys are made: what was written out is there afterwards, and every device has one certificate.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use serde_json::Value;

use super::assert_key_of;
use super::line::{Line, Receiver};
use crate::binary::{assert_code, birthmark, command, lines};
use crate::requests::from_pem;
use crate::station::{Factory, Random, Signer};

const DEVICES: usize = 2_000;
const KILLS: usize = 5;
const SEED: u64 = 0x6b11_1ed5;

#[test]
fn a_killed_run_goes_on_with_the_same_keys() {
    kill_and_go_on(Receiver::Ec);
}

/// Each start assembles the files anew, of what the spool and the log kept.
#[test]
fn a_killed_run_goes_on_with_the_same_pkcs12_files() {
    kill_and_go_on(Receiver::Pkcs12);
}

fn kill_and_go_on(receiver: Receiver) {
    let factory = Factory::for_binary(Signer::P256);
    let line = Line::new(&factory, receiver, "p256");
    let mut list = "serial\n".to_owned();
    (0..DEVICES).for_each(|device| writeln!(list, "SN-{device}").unwrap());
    let list = factory.file("devices.csv", list);
    let configuration = factory.configuration();
    let config = configuration.to_str().unwrap();
    let arguments = [
        "issue",
        "--config",
        config,
        "--profile",
        "made",
        "--quiet",
        "--generate",
    ];
    let arguments = [&arguments[..], &[list.as_str()]].concat();

    let mut random = Random::new(SEED);
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for kill in 0..KILLS {
        // Later ones go further: the earlier devices are answered at once.
        let lines = random.below((DEVICES * (kill + 1) / KILLS) as u64);
        remember(&mut known, run_and_kill(&arguments, lines));
    }
    let output = birthmark(&arguments, b"");
    assert_code(&output, 0);
    remember(&mut known, lines(&output));
    assert_eq!(known.len(), DEVICES);
    let waiting = birthmark(&["key", "list", "--config", config], b"");
    assert_code(&waiting, 0);
    let waiting = String::from_utf8(waiting.stdout).unwrap();
    assert_eq!(waiting.lines().count(), DEVICES, "seed {SEED:#x}");
    for result in known.values().step_by(DEVICES / 4) {
        let blob = from_pem(result["key"].as_str().unwrap().as_bytes());
        assert_key_of(
            &line,
            result["certificate"].as_str().unwrap(),
            &blob,
            &factory,
        );
    }
    let entries = factory.assert_sound();
    let issued = entries.iter().filter(|entry| entry.certificate().is_some());
    assert_eq!(issued.count(), DEVICES, "seed {SEED:#x}");
}

/// Starts the binary, kills it after so many results, and gives the whole lines that it had written.
fn run_and_kill(arguments: &[&str], results: u64) -> Vec<Value> {
    let mut child = command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = Vec::new();
    for _ in 0..results {
        if output.read_until(b'\n', &mut text).unwrap() == 0 {
            break;
        }
    }
    child.kill().unwrap();
    // What it wrote before it was killed is acknowledged, read or not.
    output.read_to_end(&mut text).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "seed {SEED:#x}: {status}");
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let text = std::str::from_utf8(&text[..whole.map_or(0, |end| end + 1)]).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Adds results. A device that had one has the same certificate and the same key.
fn remember(known: &mut BTreeMap<String, Value>, results: Vec<Value>) {
    for result in results {
        let input = result["input"].as_str().unwrap().to_owned();
        assert!(result["key"].is_string(), "seed {SEED:#x}: {result}");
        if let Some(before) = known.get(&input) {
            assert_eq!(result["status"], "existing", "seed {SEED:#x}: {input}");
            for part in ["certificate", "key", "serial", "index"] {
                assert_eq!(result[part], before[part], "seed {SEED:#x}: {input}");
            }
        }
        known.insert(input, result);
    }
}
