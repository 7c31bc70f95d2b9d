//! System calls of the real binary fail, one after the other: `strace` puts the errors in. Whatever
//! fails, what was answered stays, and the next run goes on.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::binary::{assert_code, binary, birthmark};
use crate::report;
use crate::requests::{device, pem};
use crate::station::{Factory, Signer};

/// Requests in each run: a few group commits, and a partial bundle.
const REQUESTS: u64 = 24;

/// The nth call of each thread fails, for n from 1 up to this.
const CALLS: u32 = 7;

/// What fails, and how. Names, writes and syncs, each in the ways that disks have.
const FAULTS: [(&str, &str); 9] = [
    ("fdatasync", "EIO"),
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("syncfs", "EIO"),
    ("fsync", "EIO"),
    ("rename", "EIO"),
    ("rename", "ENOSPC"),
    ("unlink", "EIO"),
    ("mkdir", "ENOSPC"),
];

fn strace() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tool.sh");
    let output = Command::new(script).arg("strace").output().unwrap();
    assert!(
        output.status.success(),
        "strace cannot be had, and this test needs it: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs `birthmark issue` over the requests, with one system call failing.
fn issue_with_fault(strace: &str, factory: &Factory, inject: &str, requests: &str) -> Output {
    let configuration = factory.configuration();
    let call = inject.split(':').next().unwrap();
    Command::new(strace)
        .args(["-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null"])
        .args([
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={inject}"),
        ])
        .arg(binary())
        .args(factory.issue_arguments(&configuration))
        .args(["--quiet", requests])
        .env_remove("BIRTHMARK_PIN")
        .output()
        .unwrap()
}

/// Answers with a certificate, by input.
fn answered(output: &Output) -> HashMap<String, Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line may be cut off when the process ends early.
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["certificate"].is_string())
        .map(|line| (line["input"].as_str().unwrap().to_owned(), line))
        .collect()
}

#[test]
fn any_system_call_may_fail() {
    let strace = strace();
    let mut faults = 0;
    let mut stopped = 0;
    for (call, error) in FAULTS {
        let factory = Factory::for_binary(Signer::P256);
        let mut known: HashMap<String, Value> = HashMap::new();
        for nth in 1..=CALLS {
            // New devices each time, beside those of the runs before.
            let first = u64::from(nth - 1) * REQUESTS;
            let requests: String = (0..first + REQUESTS)
                .map(|number| pem("CERTIFICATE REQUEST", &device(number)))
                .collect();
            let requests = factory.file("requests.pem", requests);
            let inject = format!("{call}:error={error}:when={nth}");
            let output = issue_with_fault(&strace, &factory, &inject, &requests);
            let context = format!("{inject}: {}", String::from_utf8_lossy(&output.stderr));
            let code = output.status.code();
            assert!(
                [Some(0), Some(1), Some(3)].contains(&code),
                "{code:?}, {context}"
            );
            stopped += u32::from(code != Some(0));
            let now = answered(&output);
            assert_unchanged(&known, &now, &context);
            known.extend(now);
            // The restart: everything that was answered is there, byte for byte, and the rest comes.
            let again = factory.issue(&["--quiet", &requests], b"");
            assert_code(&again, 0);
            let all = answered(&again);
            assert_eq!(all.len() as u64, first + REQUESTS, "{context}");
            assert_unchanged(&known, &all, &context);
            known = all;
            faults += 1;
        }
        let log = factory.log();
        let verified = birthmark(&["log", "verify", log.to_str().unwrap()], b"");
        assert_code(&verified, 0);
        factory.assert_sound();
    }
    assert!(
        stopped > 12,
        "only {stopped} of {faults} faults were noticed"
    );
    report(format_args!(
        "{faults} system calls of the real binary failed, {stopped} of them stopped it"
    ));
}

fn assert_unchanged(before: &HashMap<String, Value>, now: &HashMap<String, Value>, context: &str) {
    for (input, line) in before {
        if let Some(again) = now.get(input) {
            assert_eq!(
                (&line["certificate"], &line["index"]),
                (&again["certificate"], &again["index"]),
                "{input}, {context}"
            );
        }
    }
}
