//! A journal that was written by hand stops the ceremony, also when its lines are chained again.

use std::fs;
use std::process::Command;

use crate::support::{assert_code, birthmark, error_line, text};

use super::world::{World, chained, lines_of};

const REST: &str = "[keys.root]\nplace = \"file\"\nfile = \"root.key\"\nalgorithm = \"p256\"\n\
    [[step]]\ndo = \"make-key\"\nkey = \"root\"\n\
    [[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"root.pem\"\n\
    [[step]]\ndo = \"manual\"\ntext = \"One.\"\n\
    [[step]]\ndo = \"manual\"\ntext = \"Two.\"\n";

/// Lines: opened, approved by ada, approved by bob, begun 1, done 1, begun 2, done 2, begun 3, done 3.
type Edit = fn(&mut Vec<String>);

fn replace(line: &mut String, from: &str, to: &str) {
    assert!(line.contains(from), "{from}: {line}");
    *line = line.replace(from, to);
}

const EDITS: [(&str, Edit); 12] = [
    ("line 4: step 1 was not begun", |lines| {
        drop(lines.remove(3))
    }),
    ("line 3: no approval of bob.example is recorded", |lines| {
        drop(lines.remove(2));
    }),
    ("line 4: step 1 needs the approval of 2 signers", |lines| {
        replace(&mut lines[3], "\"ada.example\",", "");
    }),
    ("line 4: step 1 needs the approval of 2 signers", |lines| {
        replace(&mut lines[3], "bob.example", "ada.example");
    }),
    (
        "line 2: ada.example approved another plan or another ceremony",
        |lines| {
            let begin = lines[0].find("\"ceremony\":\"").unwrap() + 12;
            lines[0].replace_range(begin..begin + 32, &"0".repeat(32));
        },
    ),
    ("line 3: ", |lines| {
        replace(&mut lines[2], "sha256 ", "sha256 0");
    }),
    ("line 5: its time, 1999-", |lines| {
        let year = lines[4].find("\"time\":\"").unwrap() + 8;
        lines[4].replace_range(year..year + 4, "1999");
    }),
    ("line 5: its files are not those of the plan", |lines| {
        replace(&mut lines[4], "root.key", "boot.key");
    }),
    (
        "line 5: it is not written as this program writes lines",
        |lines| {
            replace(&mut lines[4], "\"event\"", "\"more\":1,\"event\"");
        },
    ),
    ("line 6: it says something else", |lines| {
        replace(&mut lines[5], "\"step\":2", "\"step\":3");
    }),
    ("line 6: step 2 needs the approval of 2 signers", |lines| {
        let next = lines[7].clone();
        lines[5] = next;
    }),
    ("line 10: not every step is done", |lines| {
        let closed = lines[8].split(",\"event\"").next().unwrap().to_owned();
        lines.push(closed + ",\"event\":\"closed\"}");
    }),
];

#[test]
fn a_journal_that_was_written_by_hand_is_refused() {
    let world = World::without_token();
    let plan = world.plan("byhand", "officer", REST);
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, 3), 1);
    let journal = world.journal(&plan);
    let written = fs::read_to_string(&journal).unwrap();
    assert_eq!(chained(&lines_of(&written)), written);
    let refused = |content: &str, words: &str| {
        fs::write(&journal, content).unwrap();
        let refused = world.run(&plan, 1);
        assert_code(&refused, 3);
        let line = error_line(&refused);
        assert!(line.contains(words), "{words}: {line}");
        assert_eq!(fs::read_to_string(&journal).unwrap(), content, "{words}");
    };
    for (words, edit) in EDITS {
        let mut lines = lines_of(&written);
        edit(&mut lines);
        refused(&chained(&lines), words);
    }
    // Without chaining the lines again, any change shows in the next line.
    let changed = written.replace("\"do\":\"make-key\"", "\"do\":\"Make-key\"");
    refused(&changed, "line 4: ");
    refused(
        &written.replacen("\"seria", "\"teria", 1),
        "line 8: it does not name the SHA-256 of the line before it",
    );
    // What the lines say was made has to be there.
    let mut lines = lines_of(&written);
    let digest = lines[6].find("\"root.pem\":\"").unwrap() + 12;
    lines[6].replace_range(digest..digest + 64, &"0".repeat(64));
    refused(&chained(&lines), "root.pem is not as step 2 made it");

    fs::write(&journal, &written).unwrap();
    assert_code(&world.run(&plan, 1), 0);
}

#[test]
fn an_approval_is_for_one_ceremony() {
    let world = World::without_token();
    let plan = world.plan("once", "officer", REST);
    let approve = |ceremony: &str| {
        let key = world.text("ada.key");
        let more = ["--ceremony", ceremony];
        let command = ["ca", "ceremony", "approve", &plan, "--key", &key];
        let more = if ceremony.is_empty() {
            &more[..0]
        } else {
            &more
        };
        birthmark(&[&command[..], more].concat(), b"")
    };
    let none = approve("");
    assert_code(&none, 2);
    assert!(
        error_line(&none).contains("ceremony open"),
        "{}",
        error_line(&none)
    );
    // Elsewhere, by the id alone; but not by another than that of the ceremony that is here.
    let other = "0123456789abcdef".repeat(2);
    assert_code(&approve(&other), 0);
    for wrong in ["0123", "0123456789ABCDEF0123456789ABCDEF"] {
        assert_code(&approve(wrong), 2);
    }
    let id = world.open(&plan);
    assert_eq!(world.open(&plan), id);
    assert_code(&approve(&other), 2);
    let checked = birthmark(&["ca", "ceremony", "check", &plan], b"");
    let shown = text(&checked.stdout);
    assert!(shown.contains("not yet   ada.example"), "{shown}");
    assert!(
        shown.contains(&id) && shown.contains("another ceremony"),
        "{shown}"
    );
    // It takes the place of the one for the other ceremony.
    assert_code(&approve(""), 0);
    world.approve(&plan, &["bob"]);
    assert_code(&world.run(&plan, 4), 0);
}

/// However many there are: the officers' approvals count whatever lies beside them.
#[test]
fn stray_files_hide_no_approval() {
    let world = World::without_token();
    let plan = world.plan("stray", "officer", REST);
    for number in 0..200 {
        let stray = world.path(&format!("stray.toml.aa-{number:03}.approval"));
        fs::write(stray, "nobody's").unwrap();
    }
    // One that nobody ever writes into.
    let pipe = world.path("stray.toml.pipe.approval");
    let made = Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    world.approve(&plan, &["ada", "bob"]);
    let checked = birthmark(&["ca", "ceremony", "check", &plan], b"");
    let shown = String::from_utf8(checked.stdout).unwrap();
    for officer in ["ada", "bob"] {
        assert!(
            shown.contains(&format!("approved  {officer}.example")),
            "{shown}"
        );
    }
    assert!(shown.contains("aa-000.approval: "), "{shown}");
    assert!(!shown.contains("aa-199.approval: "), "{shown}");
    assert!(
        shown.contains("does not count: and 185 more files"),
        "{shown}"
    );
    assert_code(&world.run(&plan, 4), 0);
}
