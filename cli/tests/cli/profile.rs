//! `birthmark profile`: list, show, check and explain.

use serde_json::Value;

use crate::support::{Factory, assert_code, birthmark, error_line, request_pem, text};

#[test]
fn what_is_listed_is_shown_and_checks() {
    let factory = Factory::new();
    let listed = birthmark(&["profile", "list", "--json"], b"");
    assert_code(&listed, 0);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|ready| ready["name"].as_str().unwrap())
        .collect();
    assert!(
        names.len() == 13 && names.contains(&"wi-sun-fan"),
        "{names:?}"
    );
    let table = birthmark(&["profile", "list"], b"");
    assert!(names.iter().all(|name| text(&table.stdout).contains(name)));
    let mut files = Vec::new();
    for name in names {
        let shown = birthmark(&["profile", "show", name], b"");
        assert_code(&shown, 0);
        files.push(factory.file(&format!("{name}.toml"), &shown.stdout));
    }
    let mut arguments = vec!["profile", "check"];
    arguments.extend(files.iter().map(String::as_str));
    let checked = birthmark(&arguments, b"");
    assert_code(&checked, 0);
    assert!(
        text(&checked.stdout)
            .lines()
            .all(|line| line.ends_with(": ok"))
    );
    let unknown = birthmark(&["profile", "show", "matter"], b"");
    assert_code(&unknown, 2);
    assert!(error_line(&unknown).contains("matter-dac"));
}

#[test]
fn check_names_file_line_and_key() {
    let factory = Factory::new();
    let good = factory.path("ca/profiles/tls-client.toml");
    let good_text = std::fs::read_to_string(&good).unwrap();
    let bad = factory.file("bad.toml", good_text.replace("days = 3650", "days = 0"));
    let line = good_text
        .lines()
        .position(|line| line == "days = 3650")
        .unwrap()
        + 1;
    let none = factory.path("none.toml");
    let checked = birthmark(
        &[
            "profile",
            "check",
            good.to_str().unwrap(),
            &bad,
            none.to_str().unwrap(),
        ],
        b"",
    );
    assert_code(&checked, 2);
    let output = text(&checked.stdout);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with("tls-client.toml: ok"));
    assert_eq!(
        lines[1],
        format!("{bad}:{line}: validity.days: must be 1 to 73000")
    );
    assert!(
        lines[2].contains("none.toml: cannot be read"),
        "{}",
        lines[2]
    );
}

#[test]
fn explain_says_what_a_request_would_get_and_issues_nothing() {
    let factory = Factory::new();
    let words = birthmark(&["profile", "explain", "matter-dac"], b"");
    assert_code(&words, 0);
    for word in [
        "VID = FFF1",
        "not a CA, critical",
        "at most 600 bytes",
        "P-256",
    ] {
        assert!(
            text(&words.stdout).contains(word),
            "{}",
            text(&words.stdout)
        );
    }
    let csr = factory.file("device.csr", request_pem(0));
    let profile = factory.path("ca/profiles/idevid.toml");
    let explain = [
        "profile",
        "explain",
        profile.to_str().unwrap(),
        "--csr",
        &csr,
    ];
    let got = birthmark(&[&explain[..], &["--json"]].concat(), b"");
    assert_code(&got, 0);
    let got: Value = serde_json::from_slice(&got.stdout).unwrap();
    let find = |what: &str| {
        let mut all = got.as_array().unwrap().iter();
        all.find(|one| one["what"] == what).unwrap()["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let identity = find("identity");
    assert_eq!(find("subject"), format!("serialNumber={identity}"));
    assert_eq!(
        find("subject alternative name"),
        format!("hardware_module_name 1.3.6.1.4.1.32473.1 {identity}")
    );
    assert_eq!(find("valid until"), "99991231235959Z");

    let refused = birthmark(&["profile", "explain", "tls-server", "--csr", &csr], b"");
    assert_code(&refused, 1);
    for word in ["field-count", "csr.san.dns", "REWORK"] {
        assert!(
            text(&refused.stdout).contains(word),
            "{}",
            text(&refused.stdout)
        );
    }
    let two = factory.file("two.csr", [request_pem(0), request_pem(1)].concat());
    let several = birthmark(&["profile", "explain", "tls-server", "--csr", &two], b"");
    assert_code(&several, 2);
    assert_eq!(factory.records(), 0);
}
