//! `birthmark ca ceremony`: plans, approvals, interruptions, transcripts.

mod algorithms;
mod journal;
mod resume;
mod roots;
mod verify;
mod world;

use std::fs;
use std::path::Path;

use birthmark_log::tlog::{Note, VerifierKey};
use birthmark_test_token::TestHsm;
use serde_json::Value;

use crate::support::{assert_code, birthmark, column, error_line, request_pem, text};
use crate::token::write_private;

use world::{NEW_CA_COUNT, World, openssl, sha256};

#[test]
fn a_new_ca_from_plan_to_certificate() {
    let world = World::new("newca");
    let plan = world.new_ca();
    world.approve(&plan, &["ada", "cleo"]);
    let checked = birthmark(&["ca", "ceremony", "check", &plan], b"");
    assert_code(&checked, 0);
    let checked = text(&checked.stdout);
    for words in [
        "approved  ada.example",
        "not yet   bob.example",
        "10. Copy the key 'root'",
        "[needs approval]",
        &sha256(&plan),
    ] {
        assert!(checked.contains(words), "{words}: {checked}");
    }
    assert!(!world.path("root.key").exists());

    let done = world.run(&plan, NEW_CA_COUNT);
    assert_code(&done, 0);
    assert!(!world.journal(&plan).exists() && !world.path("root.key").exists());
    the_transcript_tells_what_was_made(&world, &plan);

    // The root's key is what openssl reads with the passphrase, and belongs to the certificate.
    let media = world.path("media-b");
    let pass = format!("file:{}", world.text("passphrase"));
    let key = openssl(
        &media,
        &["pkey", "-in", "root.key", "-passin", &pass, "-pubout"],
    );
    let root = openssl(
        world.outer.path(),
        &["x509", "-in", "root.pem", "-noout", "-pubkey"],
    );
    assert_eq!(key, root);
    // What was installed issues.
    let config = world.text("ca/birthmark.toml");
    let issued = birthmark(
        &["issue", "--config", &config, "--profile", "idevid", "-"],
        request_pem(1).as_bytes(),
    );
    assert_code(&issued, 0);
    fs::write(world.path("device.pem"), &column(&issued, "certificate")[0]).unwrap();
    let verify = [
        "verify",
        "-x509_strict",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "issuing.pem",
        "device.pem",
    ];
    openssl(world.outer.path(), &verify);

    let again = world.run(&plan, 0);
    assert_code(&again, 0);
    assert!(text(&again.stdout).contains("done already"));
    let open = birthmark(&["ca", "ceremony", "open", &plan], b"");
    assert!(text(&open.stdout).contains("done already"));
}

/// Every digest in the transcript is that of what lies there now.
fn the_transcript_tells_what_was_made(world: &World, plan: &str) {
    let lines = world.transcript(plan);
    assert_eq!(lines[0]["plan_sha256"], sha256(plan));
    assert_eq!(lines.last().unwrap()["event"], "closed");
    let done_lines: Vec<&Value> = lines
        .iter()
        .filter(|line| line["event"] == "done")
        .collect();
    assert_eq!(done_lines.len(), NEW_CA_COUNT);
    let mut digests = 0;
    for line in &done_lines {
        for (path, digest) in ["files", "copies"]
            .iter()
            .filter_map(|kind| line[kind].as_object())
            .flatten()
        {
            if path == "root.key" {
                continue;
            }
            assert_eq!(*digest, sha256(&world.text(path)), "{path}");
            digests += 1;
        }
    }
    assert_eq!(
        digests, 10,
        "certificates 2, attributes 1, directory 3, copies 4"
    );
    let begun = lines
        .iter()
        .find(|line| line["event"] == "begun" && line["step"] == 2);
    assert_eq!(
        begun.unwrap()["approved_by"],
        serde_json::json!(["ada.example", "cleo.example"])
    );
    let approvals = lines.iter().filter(|line| line["event"] == "approved");
    assert_eq!(approvals.count(), 2, "each once");
    assert_eq!(done_lines[3]["keys"]["issuing"], world.issuing_key());
    let attributes: Value =
        serde_json::from_slice(&fs::read(world.path("attributes.json")).unwrap()).unwrap();
    assert_eq!(attributes["attributes"]["CKA_NEVER_EXTRACTABLE"], "true");
}

#[test]
fn without_approvals_nothing_is_made() {
    let world = World::new("approvals");
    let plan = world.new_ca();
    world.approve(&plan, &["ada"]);
    let stopped = world.run(&plan, NEW_CA_COUNT);
    assert_code(&stopped, 1);
    let line = error_line(&stopped);
    assert!(
        line.contains("approved by 1 of 3 signers, and needs 2"),
        "{line}"
    );
    assert!(!world.path("root.key").exists());

    // Somebody else's key, one signer twice, and an approval that was changed do not help.
    let (eve, other) = (
        world.text("eve.key"),
        world.text("new-ca.toml.eve.example.approval"),
    );
    assert_code(
        &birthmark(
            &["officer", "keygen", "--name", "eve.example", "--out", &eve],
            b"",
        ),
        0,
    );
    let refused = birthmark(&["ca", "ceremony", "approve", &plan, "--key", &eve], b"");
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("not the key of a signer"));
    let ada = fs::read_to_string(world.path("new-ca.toml.ada.example.approval")).unwrap();
    fs::write(&other, &ada).unwrap();
    assert_code(&world.run(&plan, NEW_CA_COUNT), 1);
    fs::write(&other, ada.replace("sha256 ", "sha256 0")).unwrap();
    let stopped = world.run(&plan, NEW_CA_COUNT);
    assert_code(&stopped, 1);
    assert!(
        error_line(&stopped).contains("new-ca.toml.eve.example.approval: "),
        "{}",
        error_line(&stopped)
    );

    // The second signer comes later, and the ceremony goes on.
    fs::remove_file(&other).unwrap();
    world.approve(&plan, &["bob"]);
    assert_code(&world.run(&plan, NEW_CA_COUNT - 1), 0);
}

#[test]
fn a_changed_plan_needs_new_approvals_and_a_new_ceremony() {
    let world = World::new("changed");
    let plan = world.new_ca();
    world.approve(&plan, &["ada", "bob"]);
    let approved = fs::read_to_string(&plan).unwrap();
    fs::write(&plan, approved.replace("Acme Root CA", "Acme R00t CA")).unwrap();
    let refused = world.run(&plan, NEW_CA_COUNT);
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("is not the plan that this ceremony began with"));
    // In a ceremony of its own the changed plan is approved by nobody.
    let journal = world.journal(&plan);
    let begun = fs::read(&journal).unwrap();
    fs::remove_file(&journal).unwrap();
    let stopped = world.run(&plan, NEW_CA_COUNT);
    assert_code(&stopped, 1);
    let line = error_line(&stopped);
    assert!(
        line.contains("approved by 0 of 3") && line.contains("the plan was changed since"),
        "{line}"
    );
    // Nor is the right plan in another ceremony than the one that it was approved for.
    fs::write(&plan, &approved).unwrap();
    fs::remove_file(&journal).unwrap();
    let stopped = world.run(&plan, NEW_CA_COUNT);
    assert_code(&stopped, 1);
    let line = error_line(&stopped);
    assert!(
        line.contains("approved by 0 of 3") && line.contains("or another ceremony"),
        "{line}"
    );
    fs::write(&journal, begun).unwrap();
    assert_code(&world.run(&plan, NEW_CA_COUNT), 0);
}

#[test]
fn what_was_changed_or_is_in_the_way_stops_it() {
    let world = World::new("between");
    let plan = world.new_ca();
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 2), 1);
    // A file that step 3 would make.
    fs::write(world.path("root.pem"), "mine").unwrap();
    let stopped = world.run(&plan, 1);
    assert_code(&stopped, 2);
    assert!(
        error_line(&stopped).contains("step 3 would make"),
        "{}",
        error_line(&stopped)
    );
    fs::remove_file(world.path("root.pem")).unwrap();
    assert_code(&world.run(&plan, 1), 1);
    // A key of the name that step 4 makes.
    let uri = world.uri("issuing");
    assert_code(
        &birthmark(
            &["hsm", "keygen", "--uri", &uri, "--algorithm", "p256"],
            b"",
        ),
        0,
    );
    let stopped = world.run(&plan, 1);
    assert_code(&stopped, 2);
    assert!(
        error_line(&stopped).contains("step 4 would make the key 'issuing'"),
        "{}",
        error_line(&stopped)
    );
    // What step 3 made was changed.
    let root = fs::read_to_string(world.path("root.pem")).unwrap();
    fs::write(world.path("root.pem"), root + "\n").unwrap();
    let stopped = world.run(&plan, 1);
    assert_code(&stopped, 3);
    assert!(
        error_line(&stopped).contains("root.pem is not as step 3 made it"),
        "{}",
        error_line(&stopped)
    );
}

#[test]
fn a_key_is_destroyed_only_if_it_is_the_one() {
    let world = World::new("destroy");
    let uri = world.uri("issuing");
    assert_code(
        &birthmark(
            &["hsm", "keygen", "--uri", &uri, "--algorithm", "p256"],
            b"",
        ),
        0,
    );
    let steps = "[[step]]\ndo = \"destroy\"\nkey = \"issuing\"\n";
    let plan = |name: &str, digest: &str| {
        let rest = format!(
            "[keys.issuing]\nplace = \"token\"\nuri = {uri:?}\nexisting = true\npublic_key_sha256 = \"{digest}\"\n{steps}"
        );
        let plan = world.plan(name, "officer", &rest);
        world.approve(&plan, &["ada", "bob"]);
        plan
    };
    let right = world.issuing_key();
    let wrong = plan("wrong-key", &"0".repeat(64));
    let refused = world.run(&wrong, 1);
    assert_code(&refused, 2);
    assert!(
        error_line(&refused).contains("the key 'issuing' is another one"),
        "{}",
        error_line(&refused)
    );
    assert_eq!(world.issuing_key(), right, "it is still there");

    let plan = plan("right-key", &right);
    assert_code(&world.run(&plan, 1), 0);
    let gone = birthmark(&["hsm", "check", "--uri", &uri], b"");
    assert_code(&gone, 2);
    assert!(error_line(&gone).contains("no private key fits"));
    let lines = world.transcript(&plan);
    let done = lines.iter().find(|line| line["event"] == "done");
    assert_eq!(done.unwrap()["found"]["destroyed"], "issuing");
}

#[test]
fn an_ed25519_root_may_sign_the_transcript() {
    let world = World::new("edroot");
    let rest = "[keys.root]\nplace = \"file\"\nfile = \"root.key\"\nalgorithm = \"ed25519\"\n\
                [[step]]\ndo = \"make-key\"\nkey = \"root\"\n\
                [[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"root.pem\"\n";
    let plan = world.plan("ed", "root", rest);
    world.approve(&plan, &["bob", "cleo"]);
    let done = birthmark(&["ca", "ceremony", &plan], b"yes\nyes\n");
    assert_code(&done, 0);
    let shown = text(&done.stdout);
    let vkey = shown
        .lines()
        .find_map(|line| line.strip_prefix("signed by   "))
        .unwrap();
    let note = Note::parse(&fs::read(world.path("ed.transcript")).unwrap()).unwrap();
    note.verified_by(&vkey.parse::<VerifierKey>().unwrap())
        .unwrap();
    assert!(vkey.starts_with("ed+"));
}

#[test]
fn wrong_secrets_are_tried_once() {
    let world = World::new("secrets");
    let plan = world.new_ca();
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 2), 1);
    write_private(&world.path("passphrase"), "nine blue geese, not grey");
    let stopped = world.run(&plan, 1);
    assert_code(&stopped, 2);
    assert!(
        error_line(&stopped).contains("the passphrase is wrong"),
        "{}",
        error_line(&stopped)
    );

    let settings = "mode = 'software'\nkey_file = 'k.p8'\nmake_key = false\nkey_label = 'issuing'\nreport_file = 'hsm.json'\n";
    let hsm = TestHsm::create(world.outer.path(), "pin", settings).unwrap();
    write_private(hsm.pin_file(), "wrong-pin");
    let rest = format!(
        "[keys.issuing]\nplace = \"token\"\nuri = {:?}\nalgorithm = \"p256\"\n[[step]]\ndo = \"make-key\"\nkey = \"issuing\"\n",
        hsm.uri()
    );
    let plan = world.plan("pin", "officer", &rest);
    world.approve(&plan, &["ada", "bob"]);
    let refused = world.run(&plan, 1);
    assert_code(&refused, 5);
    let line = error_line(&refused);
    assert!(
        line.contains("refused the PIN") && !line.contains("wrong-pin"),
        "{line}"
    );
    let report: Value = serde_json::from_slice(&fs::read(world.path("hsm.json")).unwrap()).unwrap();
    assert_eq!(report["calls"]["C_Login"], 1);
}

#[test]
fn the_ready_plans_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let checked = birthmark(&["ca", "ceremony", "check", path.to_str().unwrap()], b"");
        assert_code(&checked, 0);
        assert!(text(&checked.stdout).contains("2 of 3 signers"));
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        [
            "backup-restore-drill.toml",
            "compromise.toml",
            "destruction.toml",
            "new-ca.toml",
            "rollover.toml"
        ]
    );
}

/// What is replaced in a sound plan, by what, and what is said about it.
const PLAN_FAULTS: [(&str, &str, &str); 14] = [
    (
        "version = 1",
        "version = 2",
        "version: this program reads version 1",
    ),
    (
        "threshold = 2",
        "threshold = 4",
        "use 1 to 3, the number of signers",
    ),
    (
        "name = \"new-ca\"",
        "name = \"new ca\"",
        "use 1 to 64 letters",
    ),
    (
        "signer = \"officer\"",
        "signer = \"root\"",
        "needs an Ed25519 key",
    ),
    (
        "do = \"make-key\"\nkey = \"root\"",
        "do = \"melt\"\nkey = \"root\"",
        "there is no step do = \"melt\"",
    ),
    (
        "do = \"make-key\"\nkey = \"root\"",
        "do = \"make-key\"\nkey = \"rot\"",
        "there is no [keys.rot]",
    ),
    (
        "do = \"make-key\"\nkey = \"root\"",
        "do = \"manual\"\ntext = \"x\"",
        "the key 'root' is not there",
    ),
    (
        "text = \"Everybody is here.\"",
        "text = \"x\"\nkey = \"root\"",
        "manual takes no key",
    ),
    (
        "out = \"root.pem\"",
        "out = \"issuing.pem\"",
        "issuing.pem is made twice",
    ),
    (
        "out = \"root.pem\"",
        "out = \"root.pem\"\napproval = false",
        "self-sign always needs approval",
    ),
    (
        "directory = \"ca\"",
        "directory = \"ca\"\nactivation = \"operator\"",
        "take pin-source out",
    ),
    (
        "algorithm = \"p384\"",
        "algorithm = \"p999\"",
        "unknown key algorithm",
    ),
    (
        "subject = \"O=Acme,CN=Acme Root CA\"",
        "subject = \"Acme\"",
        "subject: ",
    ),
    ("purpose = ", "porpoise = ", "unknown field `porpoise`"),
];

#[test]
fn a_plan_that_cannot_be_carried_out_is_refused() {
    let world = World::new("plans");
    let sound = fs::read_to_string(world.new_ca()).unwrap();
    for (from, to, words) in PLAN_FAULTS {
        let wrong = sound.replacen(from, to, 1);
        assert_ne!(wrong, sound, "{from}");
        let path = world.text("wrong.toml");
        fs::write(&path, wrong).unwrap();
        let refused = birthmark(&["ca", "ceremony", "check", &path], b"");
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(words), "{words}: {line}");
    }
    // One person twice.
    let twice = sound.replace(&world.vkeys[1], &world.vkeys[0]);
    let path = world.text("twice.toml");
    fs::write(&path, twice).unwrap();
    let refused = birthmark(&["ca", "ceremony", "check", &path], b"");
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("stands there twice"));
}
