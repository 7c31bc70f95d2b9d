//! `birthmark ca ceremony verify`: a transcript is believed as it is, or not at all.

use std::fs;
use std::path::Path;
use std::process::Output;

use birthmark_hsm::{SignInput, SoftwareKey};
use birthmark_log::tlog::{Note, NoteSignature, VerifierKey};

use crate::support::{assert_code, birthmark, error_line, text};

use super::world::{World, chained, lines_of};

const REST: &str = "[keys.root]\nplace = \"file\"\nfile = \"root.key\"\nalgorithm = \"ed25519\"\n\
    [[step]]\ndo = \"make-key\"\nkey = \"root\"\n\
    [[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"root.pem\"\n\
    [[step]]\ndo = \"export\"\nfiles = [\"root.pem\"]\nto = [\"media-a\"]\n\
    [[step]]\ndo = \"manual\"\ntext = \"The end.\"\n";

fn verify(plan: &Path, more: &[&str]) -> Output {
    let command = ["ca", "ceremony", "verify", plan.to_str().unwrap()];
    birthmark(&[&command[..], more].concat(), b"")
}

/// A ceremony that is over: its folder and its plan.
fn carried_out(name: &str, signer: &str) -> (World, String) {
    let world = World::without_token();
    let plan = world.plan(name, signer, REST);
    world.approve(&plan, &["ada", "bob"]);
    (world, plan)
}

fn refused(output: &Output, words: &str) {
    assert_code(output, 1);
    let line = error_line(output);
    assert!(line.contains(words), "{words}: {line}");
}

#[test]
fn a_transcript_says_line_by_line_what_it_proves() {
    let (world, plan) = carried_out("proved", "officer");
    assert_code(&world.run(&plan, 4), 0);
    let plan = Path::new(&plan);
    let proved = verify(plan, &[]);
    assert_code(&proved, 0);
    let shown = text(&proved.stdout);
    for words in [
        "to the byte, what ada.example, a signer of the plan, signed",
        "None of its 12 lines is missing",
        "ada.example approved this plan for this ceremony",
        "bob.example approved this plan for this ceremony",
        "Step 1, approved by ada.example, bob.example, done 2",
        "key 'root' SHA-256 ",
        "Step 3, done 2",
        "root.pem: as it was made",
        "media-a/root.pem: as it was made",
        "That the plan's signers have these keys",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    // With the officers' keys from the officers.
    let keys: Vec<&str> = world.vkeys.iter().map(String::as_str).collect();
    let [ada, bob, cleo] = keys[..] else { panic!() };
    let all = ["--signer", cleo, "--signer", ada, "--signer", bob];
    let proved = verify(plan, &all);
    assert_code(&proved, 0);
    assert!(!text(&proved.stdout).contains("have these keys"));
    refused(&verify(plan, &all[..4]), "are not the same: bob.example");
    assert_code(&verify(plan, &["--signer", "bob"]), 2);
    assert_code(&verify(plan, &["--vkey", ada]), 2);

    // Elsewhere, where nothing of the CA is.
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["proved.toml", "proved.transcript"] {
        fs::copy(world.path(name), elsewhere.path().join(name)).unwrap();
    }
    let moved = elsewhere.path().join("proved.toml");
    let proved = verify(&moved, &all);
    assert_code(&proved, 0);
    assert!(text(&proved.stdout).contains("root.pem: not here"));
    // What is there has to be what was made.
    fs::write(elsewhere.path().join("root.pem"), "another").unwrap();
    refused(
        &verify(&moved, &all),
        "root.pem is not as the ceremony made it",
    );
}

#[test]
fn a_changed_byte_is_refused() {
    let (world, plan) = carried_out("flipped", "officer");
    assert_code(&world.run(&plan, 4), 0);
    let plan = Path::new(&plan);
    let files = [world.path("flipped.transcript"), plan.to_owned()];
    // A changed plan may name another.
    let transcript = ["--transcript", files[0].to_str().unwrap()];
    for (path, bits) in [(&files[0], 0x01), (&files[0], 0x20), (&files[1], 0x01)] {
        let right = fs::read(path).unwrap();
        // Some sixty places, the last bytes among them.
        for place in (0..right.len()).rev().step_by(right.len().div_ceil(60)) {
            let mut wrong = right.clone();
            wrong[place] ^= bits;
            fs::write(path, &wrong).unwrap();
            let output = verify(plan, &transcript);
            // A plan may also be none any more.
            let code = output.status.code();
            assert!(matches!(code, Some(1 | 2)), "byte {place}: {output:?}");
            assert!(
                path == &files[1] || code == Some(1),
                "byte {place}: {output:?}"
            );
        }
        for wrong in [&right[..right.len() - 1], &[&right[..], b"\n"].concat()] {
            fs::write(path, wrong).unwrap();
            assert_ne!(verify(plan, &transcript).status.code(), Some(0));
        }
        fs::write(path, &right).unwrap();
    }
    assert_code(&verify(plan, &[]), 0);
}

/// The text, signed with an officer's key as the program does it.
pub(super) fn signed(world: &World, text: String) -> String {
    let key = SoftwareKey::read(&world.path("ada.key")).unwrap();
    let verifier: VerifierKey = world.vkeys[0].parse().unwrap();
    let signature = key.sign(&SignInput::for_key(key.algorithm(), text.as_bytes()));
    let signature = NoteSignature {
        name: verifier.name().to_owned(),
        key_id: verifier.key_id(),
        signature: signature.unwrap().as_bytes().to_vec(),
    };
    let note = Note {
        text,
        signatures: vec![signature],
    };
    note.to_string()
}

#[test]
fn whoever_signs_the_transcript_cannot_make_one_up() {
    let (world, plan) = carried_out("forged", "officer");
    assert_code(&world.run(&plan, 4), 0);
    let path = world.path("forged.transcript");
    let right = fs::read(&path).unwrap();
    let lines = lines_of(&Note::parse(&right).unwrap().text);
    let plan = Path::new(&plan);
    let forged = |lines: &[String]| {
        fs::write(&path, signed(&world, chained(lines))).unwrap();
        verify(plan, &[])
    };
    assert_code(&forged(&lines), 0);
    let without = |place: usize| [&lines[..place], &lines[place + 1..]].concat();
    refused(&forged(&without(2)), "no approval of bob.example");
    refused(&forged(&without(4)), "line 5: ");
    refused(
        &forged(&lines[..lines.len() - 1]),
        "the ceremony has not ended",
    );
    refused(&forged(&lines[..5]), "the ceremony has not ended");
    let longer = [&lines[..], &lines[lines.len() - 1..]].concat();
    refused(&forged(&longer), "the ceremony had ended");
    // A copy of something else than what was made.
    let mut copied = lines.clone();
    let digest = copied[8].find("root.pem\":\"").unwrap() + 11;
    copied[8].replace_range(digest..digest + 64, &"0".repeat(64));
    refused(
        &forged(&copied),
        "media-a/root.pem is no copy of what was made",
    );
    // Somebody else's signature below it.
    fs::write(&path, &right).unwrap();
    let twice = String::from_utf8(right).unwrap();
    let signature = twice.lines().last().unwrap().to_owned();
    fs::write(&path, format!("{twice}{signature}\n")).unwrap();
    refused(&verify(plan, &[]), "not one signed text");
}

#[test]
fn a_key_of_the_ceremony_signs_its_transcript() {
    let (world, plan) = carried_out("keyed", "root");
    let done = birthmark(&["ca", "ceremony", &plan], b"yes\nyes\nyes\nyes\n");
    assert_code(&done, 0);
    let shown = text(&done.stdout);
    let vkey = shown
        .lines()
        .find_map(|line| line.strip_prefix("signed by   "));
    let vkey = vkey.unwrap();
    let plan = Path::new(&plan);
    let proved = verify(plan, &["--vkey", vkey]);
    let shown = text(&proved.stdout);
    assert!(
        shown.contains("which signed, is that of the real ceremony"),
        "{shown}"
    );
    assert_code(&proved, 0);
    assert!(text(&proved.stdout).contains("the key 'root' of this ceremony"));
    let none = verify(plan, &[]);
    assert_code(&none, 2);
    assert!(error_line(&none).contains("--vkey"));
    refused(
        &verify(plan, &["--vkey", &world.vkeys[0]]),
        "it was changed",
    );
    // Another key under the plan's name.
    let other: VerifierKey = world.vkeys[0].parse().unwrap();
    let other = VerifierKey::ed25519("keyed", *other.public_key()).unwrap();
    let text = Note::parse(&fs::read(world.path("keyed.transcript")).unwrap())
        .unwrap()
        .text;
    let key = SoftwareKey::read(&world.path("ada.key")).unwrap();
    let signature = key.sign(&SignInput::for_key(key.algorithm(), text.as_bytes()));
    let note = Note {
        text,
        signatures: vec![NoteSignature {
            name: "keyed".to_owned(),
            key_id: other.key_id(),
            signature: signature.unwrap().as_bytes().to_vec(),
        }],
    };
    fs::write(world.path("keyed.transcript"), note.to_string()).unwrap();
    let words = "not signed by the ceremony's key 'root'";
    refused(&verify(plan, &["--vkey", &other.to_string()]), words);
}
