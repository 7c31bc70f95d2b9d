//! What a step that was cut short takes as its own, and what it does not.

use std::fs;
use std::path::Path;

use crate::support::{assert_code, error_line, text};
use crate::token::write_private;

use super::world::{World, openssl};

const KEYS: &str = "[keys.root]\nplace = \"file\"\nfile = \"root.key\"\nalgorithm = \"p256\"\n";
const MAKE: &str = "[[step]]\ndo = \"make-key\"\nkey = \"root\"\n";
const SIGN: &str =
    "[[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"root.pem\"\n";
const END: &str = "[[step]]\ndo = \"manual\"\ntext = \"The end.\"\n";

/// A plan with these steps and an end, approved, run up to the end.
fn run_to_the_end(world: &World, name: &str, steps: &[&str]) -> String {
    let rest = format!("{KEYS}{}{END}", steps.concat());
    let plan = world.plan(name, "officer", &rest);
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, steps.len()), 1);
    plan
}

/// As an interruption leaves it just before the last line.
fn cut_last_line(journal: &Path) {
    let text = fs::read_to_string(journal).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    assert!(text[end..].contains("\"done\""), "{text}");
    fs::write(journal, &text[..end]).unwrap();
}

#[test]
fn a_key_of_another_kind_is_not_taken_as_made() {
    let world = World::without_token();
    let plan = run_to_the_end(&world, "kind", &[MAKE]);
    cut_last_line(&world.journal(&plan));
    let other = fs::read_to_string(world.path("ada.key")).unwrap();
    write_private(&world.path("root.key"), &other);
    let refused = world.run(&plan, 2);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(line.contains("not what the plan has made"), "{line}");
}

#[test]
fn a_certificate_that_says_something_else_is_not_taken_as_made() {
    let world = World::without_token();
    let plan = run_to_the_end(&world, "cert", &[MAKE, SIGN]);
    cut_last_line(&world.journal(&plan));
    // Right key, right name, a signature that holds; but a path length that nobody approved.
    let request = [
        "req",
        "-x509",
        "-key",
        "root.key",
        "-subj",
        "/CN=Root",
        "-addext",
        "basicConstraints=critical,CA:TRUE,pathlen:7",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
        "-out",
        "root.pem",
    ];
    openssl(world.outer.path(), &request);
    let refused = world.run(&plan, 2);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(
        line.contains("not the certificate that this step makes"),
        "{line}"
    );
    fs::remove_file(world.path("root.pem")).unwrap();
    assert_code(&world.run(&plan, 2), 0);
}

#[test]
fn a_copy_that_is_there_before_its_step_is_in_the_way() {
    let world = World::without_token();
    let export = "[[step]]\ndo = \"export\"\nfiles = [\"root.pem\"]\nto = [\"media-a\"]\n";
    let rest = format!("{KEYS}{MAKE}{SIGN}{export}");
    let plan = world.plan("copy", "officer", &rest);
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 2), 1);
    // The very same: but this ceremony did not make it.
    let copy = world.path("media-a/root.pem");
    fs::copy(world.path("root.pem"), &copy).unwrap();
    let refused = world.run(&plan, 1);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(line.contains("step 3 would make"), "{line}");
    fs::remove_file(&copy).unwrap();
    assert_code(&world.run(&plan, 1), 0);
}

/// What a crash between erasing and removing leaves: the disk may have any part of the zeros.
fn half_erased(key: &[u8]) -> [Vec<u8>; 3] {
    let half = key.len() / 2;
    let zeros = |count: usize| vec![0; count];
    [
        zeros(key.len()),
        [&zeros(half)[..], &key[half..]].concat(),
        [&key[..key.len() - half], &zeros(half)[..]].concat(),
    ]
}

#[test]
fn a_key_that_is_erased_in_part_is_destroyed_to_the_end() {
    let world = World::without_token();
    let destroy = "[[step]]\ndo = \"destroy\"\nkey = \"root\"\n";
    let rest = format!("{KEYS}{MAKE}{destroy}{END}");
    let plan = world.plan("destroyed", "officer", &rest);
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 1), 1);
    let (path, journal) = (world.path("root.key"), world.journal(&plan));
    let key = fs::read_to_string(&path).unwrap();
    // Not begun: a file with zeros is no key, and is not touched.
    write_private(&path, "\0");
    assert_code(&world.run(&plan, 1), 3);
    write_private(&path, &key);
    assert_code(&world.run(&plan, 1), 1);
    for left in half_erased(key.as_bytes()) {
        cut_last_line(&journal);
        write_private(&path, std::str::from_utf8(&left).unwrap());
        let stopped = world.run(&plan, 1);
        assert_code(&stopped, 1);
        assert!(text(&stopped.stderr).contains("was begun before"));
        assert!(!path.exists());
    }
    // Another key under that name is still not the one.
    cut_last_line(&journal);
    write_private(&path, &fs::read_to_string(world.path("ada.key")).unwrap());
    assert_code(&world.run(&plan, 1), 3);
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
    assert_code(&world.run(&plan, 2), 0);
}

#[test]
fn a_key_that_is_erased_in_part_goes_offline_if_its_copies_hold_it() {
    let world = World::without_token();
    let offline =
        "[[step]]\ndo = \"take-offline\"\nkey = \"root\"\nto = [\"media-a\", \"media-b\"]\n";
    let rest = format!("{KEYS}{MAKE}{offline}{END}");
    let plan = world.plan("offline", "officer", &rest);
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 1), 1);
    let (path, journal) = (world.path("root.key"), world.journal(&plan));
    let key = fs::read_to_string(&path).unwrap();
    assert_code(&world.run(&plan, 1), 1);
    for left in half_erased(key.as_bytes()) {
        cut_last_line(&journal);
        write_private(&path, std::str::from_utf8(&left).unwrap());
        assert_code(&world.run(&plan, 1), 1);
        assert!(!path.exists());
    }
    // Neither the original nor what lies under the copy's name is the key.
    cut_last_line(&journal);
    let copy = world.path("media-b/root.key");
    fs::copy(world.path("ada.key"), &copy).unwrap();
    let refused = world.run(&plan, 1);
    assert_code(&refused, 2);
    assert!(error_line(&refused).contains("the key 'root' is another one"));
    fs::write(&copy, &key).unwrap();
    assert_code(&world.run(&plan, 2), 0);
}
