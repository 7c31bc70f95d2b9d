//! A private key is gone from the process's memory once its encrypted form is out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;

use serde_json::Value;

use super::line::{Line, Receiver};
use crate::binary::{command, start};
use crate::requests::from_pem;
use crate::station::{Factory, Signer};

const DEVICES: usize = 40;

#[test]
fn keys_are_erased_when_they_are_encrypted() {
    let factory = Factory::for_binary(Signer::P256);
    let line = Line::new(&factory, Receiver::Ec, "p256");
    let configuration = factory.configuration();
    let config = configuration.to_str().unwrap();
    let arguments = ["issue", "--config", config, "--profile", "made", "--quiet"];
    let mut child = start(&mut command(
        &[&arguments[..], &["--generate", "-"]].concat(),
    ));
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    input.write_all(b"serial\n").unwrap();
    let mut scalars = Vec::new();
    let mut ciphertext = Vec::new();
    for device in 0..DEVICES {
        writeln!(input, "SN-{device}").unwrap();
        let mut text = String::new();
        output.read_line(&mut text).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        let blob = from_pem(result["key"].as_str().unwrap().as_bytes());
        scalars.push(Line::scalar(&line.open(&blob).unwrap()));
        ciphertext = blob[blob.len() - 32..].to_vec();
    }
    // The process waits for the next device: now is when somebody could look at it.
    let memory = writable_memory(child.id());
    drop(input);
    assert!(child.wait().unwrap().success());
    // As a key stands in PKCS #8, and as numbers lie in memory.
    let reversed = scalars
        .iter()
        .map(|scalar| scalar.iter().rev().copied().collect());
    let mut parts: Vec<Vec<u8>> = reversed.collect();
    parts.extend(scalars);
    parts.push(ciphertext);
    let found = find(&memory, &parts);
    let (encrypted, plain) = found.split_last().unwrap();
    assert!(
        *encrypted,
        "the encrypted key is there: the right memory is looked at"
    );
    assert!(
        plain.iter().all(|found| !found),
        "private keys are left: {plain:?}"
    );
}

/// Which parts stand in the memory.
fn find(memory: &[Vec<u8>], parts: &[Vec<u8>]) -> Vec<bool> {
    // By their first two octets, so that one pass looks for all.
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut starts = vec![false; 1 << 16];
    parts.iter().for_each(|part| starts[start(part)] = true);
    let mut found = vec![false; parts.len()];
    for region in memory {
        for at in 0..region.len().saturating_sub(1) {
            if starts[start(&region[at..])] {
                for (part, found) in parts.iter().zip(&mut found) {
                    *found |= region[at..].starts_with(part);
                }
            }
        }
    }
    found
}

/// What a process could have written to, as it is now.
fn writable_memory(process: u32) -> Vec<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut regions = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let (start, end) = fields.next().unwrap().split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (hex(start), hex(end));
        // Shared memory is files; what was only reserved cannot be read and holds nothing.
        let mut bytes = vec![0; (end - start) as usize];
        if fields.next().unwrap().starts_with("rw-p")
            && memory.read_exact_at(&mut bytes, start).is_ok()
        {
            regions.push(bytes);
        }
    }
    regions
}
