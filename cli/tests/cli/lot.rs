//! Lots through the binary: declared in files, named by `issue`, counted by `lot`.

use std::fs;
use std::process::Output;

use crate::support::{Factory, assert_code, birthmark, column, lines, request_pem, text};

/// A station with a directory of lots.
fn station(more: &str) -> Factory {
    let factory = Factory::new();
    let path = factory.path("ca/birthmark.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    let lots = format!("\n[lots]\ndirectory = \"lots\"\n{more}");
    fs::write(&path, configuration + &lots).unwrap();
    fs::create_dir(factory.path("ca/lots")).unwrap();
    factory
}

fn lot(factory: &Factory, arguments: &[&str]) -> Output {
    let config = factory.path("ca/birthmark.toml");
    let mut all = vec!["lot", arguments[0], "--config", config.to_str().unwrap()];
    all.extend(&arguments[1..]);
    birthmark(&all, b"")
}

fn declare(factory: &Factory, name: &str, more: &str) {
    let text = format!("name = \"{name}\"\nprofile = \"idevid\"\n{more}\n");
    factory.file(&format!("ca/lots/{name}.toml"), text);
}

/// PEM of the devices from `first` on.
fn requests(first: u64, count: u64) -> Vec<u8> {
    let requests = (first..first + count).map(request_pem);
    requests.collect::<String>().into_bytes()
}

#[test]
fn a_lot_is_used_up_and_its_answers_stay() {
    let factory = station("required = true\n");
    declare(&factory, "WO-1", "quantity = 3\nline = \"line-3\"");
    declare(
        &factory,
        "WO-2",
        "quantity = 1000\nnot_before = 2400-01-01T00:00:00Z",
    );
    let of_lot = ["--quiet", "--lot", "WO-1", "--line", "line-3", "-"];
    let issued = factory.issue(&of_lot, &requests(0, 5));
    assert_code(&issued, 1);
    // Which of those that came together gets a place is nobody's promise.
    let refused: Vec<_> = lines(&issued)
        .into_iter()
        .filter(|line| line["status"] == "rejected")
        .collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(
        (
            refused[1]["reason"].as_str(),
            refused[1]["number"].as_u64(),
            refused[1]["action"].as_str()
        ),
        (Some("lot-exhausted"), Some(607), Some("STOP"))
    );
    // Retries of all three, under a lot that is closed by now.
    declare(&factory, "WO-1", "quantity = 3\nclosed = true");
    let again = factory.issue(&of_lot, &requests(0, 5));
    assert_code(&again, 1);
    for (before, now) in lines(&issued).iter().zip(lines(&again)) {
        if before["status"] == "issued" {
            assert_eq!(now["status"], "existing");
            assert_eq!(now["certificate"], before["certificate"]);
        } else {
            assert_eq!(now["reason"], "lot-closed");
        }
    }
    for (arguments, reason) in [
        (&["-"][..], "lot-needed"),
        (&["--lot", "WO-3", "-"], "lot-unknown"),
        (&["--lot", "WO-2", "-"], "lot-not-yet"),
    ] {
        let arguments = [&["--quiet"], arguments].concat();
        let refused = factory.issue(&arguments, &requests(9, 1));
        assert_code(&refused, 1);
        assert_eq!(column(&refused, "reason"), [reason]);
    }
    assert_listed(&factory);
}

/// Both lots as they stand, for people and programs, and who asked in the records.
fn assert_listed(factory: &Factory) {
    let listed = lot(factory, &["list"]);
    assert_code(&listed, 0);
    assert_eq!(
        text(&listed.stdout),
        "WO-1  closed     idevid  3 of 3 used, 0 left\n\
         WO-2  not-yet    idevid  0 of 1,000 used, 1,000 left\n"
    );
    let listed = lines(&lot(factory, &["list", "--json"]));
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (
            &listed[0]["name"],
            &listed[0]["used"],
            &listed[1]["not_before"]
        ),
        (
            &"WO-1".into(),
            &3.into(),
            &"2400-01-01T00:00:00.000Z".into()
        )
    );
    let log = factory.path("ca/log");
    let shown = birthmark(&["log", "show", "--json", log.to_str().unwrap()], b"");
    assert_code(&shown, 0);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("\"WO-1\"") && shown.contains("\"line-3\""),
        "{shown}"
    );
}

#[test]
fn a_lot_is_shown_whole() {
    let factory = station("");
    // Before it is declared a lot is unknown; without one the station issues too.
    let free = factory.issue(&["--quiet", "-"], &requests(0, 1));
    assert_code(&free, 0);
    declare(
        &factory,
        "WO-1",
        "quantity = 2\nnot_after = 2400-01-01T00:00:00+01:00\n\
         [serial]\nfrom = \"BM-0000000000000007-00000002\"\nto = \"BM-0000000000000007-00000009\"",
    );
    let issued = factory.issue(&["--quiet", "--lot", "WO-1", "-"], &requests(1, 1));
    assert_code(&issued, 0);
    let other = factory.issue(&["--quiet", "--lot", "WO-1", "-"], &requests(9, 1));
    assert_code(&other, 1);
    assert_eq!(column(&other, "reason"), ["lot-other-serial"]);
    assert_eq!(column(&other, "action"), ["CALL-OFFICER"]);
    let shown = lot(&factory, &["show", "WO-1"]);
    assert_code(&shown, 0);
    assert_eq!(
        text(&shown.stdout),
        "lot         WO-1\nstate       open\nprofile     idevid\nline        any\nquantity    2\n\
         used        1\nleft        1\nnot before  any\nnot after   2399-12-31T23:00:00.000Z\n\
         serials     BM-0000000000000007-00000002 to BM-0000000000000007-00000009\n"
    );
    let shown = lot(&factory, &["show", "--json", "WO-1"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["state"], &shown["left"]),
        (&"open".into(), &1.into())
    );
    let none = lot(&factory, &["show", "WO-9"]);
    assert_code(&none, 1);
    assert_eq!(
        text(&none.stderr),
        "error: no lot is named \"WO-9\"; see 'birthmark lot list'\n"
    );
}

#[test]
fn lots_that_do_not_do_stop_the_start() {
    let factory = Factory::new();
    let none = lot(&factory, &["list"]);
    assert_code(&none, 2);
    assert!(text(&none.stderr).contains("has no lots"), "{none:?}");

    let factory = station("");
    declare(&factory, "WO-1", "quantity = 0");
    for output in [
        lot(&factory, &["list"]),
        factory.issue(&["-"], &requests(0, 1)),
    ] {
        assert_code(&output, 2);
        let told = text(&output.stderr);
        assert!(
            told.contains("lots/WO-1.toml:3: quantity: must be 1 to"),
            "{told}"
        );
    }
    let other = "name = \"WO-1\"\nprofile = \"gone\"\nquantity = 1\n";
    factory.file("ca/lots/WO-1.toml", other);
    let output = factory.issue(&["-"], &requests(0, 1));
    assert_code(&output, 2);
    let told = text(&output.stderr);
    assert!(told.contains("is for profile gone"), "{told}");
    assert_eq!(factory.records(), 0);
}

/// Where no lots are declared, a lot is a name in the record.
#[test]
fn without_lots_a_lot_is_a_name() {
    let factory = Factory::new();
    let issued = factory.issue(&["--quiet", "--lot", "anything", "-"], &requests(0, 2));
    assert_code(&issued, 0);
    let log = factory.path("ca/log");
    let exported = [
        "log",
        "export",
        log.to_str().unwrap(),
        "--ndjson",
        "--lot",
        "anything",
    ];
    let exported = birthmark(&exported, b"");
    assert_code(&exported, 0);
    assert_eq!(lines(&exported).len(), 2);
    // Declared later, it counts from then on and says so.
    let path = factory.path("ca/birthmark.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    fs::write(&path, configuration + "\n[lots]\ndirectory = \"lots\"\n").unwrap();
    declare(&factory, "anything", "quantity = 1");
    let issued = factory.issue(&["--quiet", "--lot", "anything", "-"], &requests(1, 2));
    assert_code(&issued, 0);
    assert_eq!(column(&issued, "status"), ["existing", "issued"]);
    let shown = text(&lot(&factory, &["show", "anything"]).stdout);
    assert!(
        shown.contains("state       exhausted") && shown.contains("uncounted   2 certificates"),
        "{shown}"
    );
    // Switched off for a while, it is a name again.
    let declared = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        declared.replace("[lots]\ndirectory = \"lots\"\n", ""),
    )
    .unwrap();
    let issued = factory.issue(&["--quiet", "--lot", "anything", "-"], &requests(3, 1));
    assert_code(&issued, 0);
    fs::write(&path, declared).unwrap();
    let shown = text(&lot(&factory, &["show", "anything"]).stdout);
    let told =
        "uncounted   3 certificates name it without a place: issued while it was not declared";
    assert!(
        shown.contains("used        1\n") && shown.contains(told),
        "{shown}"
    );
}
