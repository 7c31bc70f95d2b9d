//! `birthmark issue --generate` and `birthmark key`: lists in, certificates and encrypted keys out.

use std::fs;

use crate::support::{Factory, assert_code, birthmark, error_line, lines, text};

const PROFILE: &str = r#"
name = "made"
base = "idevid"

[[subject]]
type = "O"
value = "{data.maker}"

[[subject]]
type = "serialNumber"
value = "{data.serial}"

[validity]
not_after = "99991231235959Z"

[key]
algorithms = ["p256"]
generated = "cms"
"#;

/// A station that makes keys for the line's certificate.
fn station() -> (Factory, Vec<String>) {
    let factory = Factory::new();
    let file = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let (key, certificate) = (file("line.key"), file("line.pem"));
    let status = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Line 7"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(status.status.success());
    factory.file("ca/profiles/made.toml", PROFILE);
    let path = factory.path("ca/birthmark.toml");
    let configuration = fs::read_to_string(&path).unwrap();
    let profiles = "profiles = [\"profiles/made.toml\", ";
    let configuration = configuration.replace("profiles = [", profiles);
    let keys = "\n[device_keys]\nrecipient = \"../line.pem\"\n";
    fs::write(&path, configuration + keys).unwrap();
    let config = path.to_str().unwrap().to_owned();
    let fixed = ["issue", "--config", &config, "--profile", "made", "--quiet"];
    let issue = [&fixed[..], &["--generate"]].concat();
    let issue = issue.into_iter().map(str::to_owned).collect();
    (factory, issue)
}

fn with<'a>(fixed: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let fixed = fixed.iter().map(String::as_str);
    fixed.chain(more.iter().copied()).collect()
}

/// Opens a result's key and checks it against its certificate.
fn assert_opens(factory: &Factory, line: &serde_json::Value) {
    let openssl = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl")
            .current_dir(factory.path("."))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    factory.file("key.pem", line["key"].as_str().unwrap());
    factory.file("device.pem", line["certificate"].as_str().unwrap());
    let opened = ["cms", "-decrypt", "-inform", "PEM", "-in", "key.pem"];
    let key = openssl(&[&opened[..], &["-inkey", "line.key", "-out", "key.der"]].concat());
    assert!(key.is_empty());
    assert_eq!(
        openssl(&["pkey", "-inform", "DER", "-in", "key.der", "-pubout"]),
        openssl(&["x509", "-in", "device.pem", "-noout", "-pubkey"])
    );
}

#[test]
fn lists_are_read_and_keys_come_out_until_they_are_acknowledged() {
    let (factory, issue) = station();
    let csv = factory.file(
        "devices.csv",
        "serial,maker\nSN-1,Acme\n\"SN-2\",\"Other, Ltd\"\nSN-3\n",
    );
    let json = factory.file("devices.ndjson", "{\"serial\":\"SN-4\"}\n{\"serial\":7}\n");
    let arguments = ["--data", "maker=Acme", csv.as_str(), &json];
    let output = birthmark(&with(&issue, &arguments), b"");
    assert_code(&output, 1);
    let results = lines(&output);
    let told: Vec<_> = results
        .iter()
        .map(|line| {
            let input = line["input"].as_str().unwrap();
            let number = input.rsplit('#').next().unwrap();
            let reason = line["reason"].as_str().unwrap_or("-");
            format!("{number} {} {reason}", line["status"].as_str().unwrap())
        })
        .collect();
    let (issued, refused) = ("issued -", "rejected device-line");
    assert_eq!(
        told,
        [
            format!("1 {issued}"),
            format!("2 {issued}"),
            format!("3 {refused}"),
            format!("1 {issued}"),
            format!("2 {refused}")
        ]
    );
    assert_opens(&factory, &results[1]);
    let again = birthmark(&with(&issue, &arguments), b"");
    for (before, after) in results.iter().zip(lines(&again)) {
        assert_eq!(before["key"], after["key"]);
        assert_eq!(before["certificate"], after["certificate"]);
    }

    let config = factory.path("ca/birthmark.toml");
    let config = config.to_str().unwrap();
    let listed = birthmark(&["key", "list", "--config", config], b"");
    assert_code(&listed, 0);
    assert_eq!(text(&listed.stdout).lines().count(), 3);
    assert!(text(&listed.stdout).contains(results[1]["serial"].as_str().unwrap()));
    let acknowledge = ["key", "ack", "--config", config, "--json", "-"];
    for (done, not_waiting) in [(3, 0), (0, 3)] {
        let output = birthmark(&acknowledge, &output.stdout);
        assert_code(&output, 0);
        let counts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(counts["acknowledged"], done);
        assert_eq!(counts["not_waiting"], not_waiting);
    }
    let after = lines(&birthmark(&with(&issue, &arguments), b""));
    assert_eq!(after[0]["key_state"], "acknowledged");
    assert_eq!(after[0]["key"], serde_json::Value::Null);
    assert_eq!(after[0]["certificate"], results[0]["certificate"]);
}

#[test]
fn one_device_by_its_data_or_on_standard_input() {
    let (factory, issue) = station();
    let one = ["--data", "maker=Acme", "--data", "serial=SN-1"];
    let output = birthmark(&with(&issue, &one), b"");
    assert_code(&output, 0);
    let first = lines(&output);
    assert_eq!(first[0]["input"], "device");
    assert_opens(&factory, &first[0]);
    let piped = birthmark(&with(&issue, &["-"]), b"maker,serial\nAcme,SN-1\n");
    assert_code(&piped, 0);
    let second = lines(&piped);
    assert_eq!(second[0]["status"], "existing");
    assert_eq!(second[0]["key"], first[0]["key"]);
    let own = with(&issue, &["--data", "maker=Acme"]);
    let incomplete = birthmark(&own, b"");
    assert_code(&incomplete, 1);
    assert_eq!(lines(&incomplete)[0]["reason"], "field-count");
}

/// Makes an officer's key at `key`, and lets the configuration know the officer.
fn make_officer(config: &str, key: &str) {
    let keygen = ["officer", "keygen", "--name", "ada.example", "--out", key];
    let made = birthmark(&keygen, b"");
    assert_code(&made, 0);
    let vkey = text(&made.stdout);
    let vkey = vkey.trim();
    let written = fs::read_to_string(config).unwrap();
    let table = format!("[engine]\nofficers = [\"{vkey}\"]\n");
    fs::write(config, written.replacen("[engine]\n", &table, 1)).unwrap();
}

#[test]
fn a_permit_gets_a_device_that_lost_its_key_another() {
    let (factory, issue) = station();
    let file = |name: &str| factory.path(name).to_str().unwrap().to_owned();
    let (config, officer) = (file("ca/birthmark.toml"), file("ada.key"));
    make_officer(&config, &officer);
    let profile = PROFILE.replace("base = ", "reissue = \"permit\"\nbase = ");
    factory.file("ca/profiles/made.toml", profile);

    let one = ["--data", "maker=Acme", "--data", "serial=SN-1"];
    let output = birthmark(&with(&issue, &one), b"");
    assert_code(&output, 0);
    let first = &lines(&output)[0];
    let permit = file("SN-1.permit");
    let new = ["permit", "new", "--config", &config, "--profile", "made"];
    let what = ["--identity", "SN-1", "--replaces", "0", "--any-key"];
    let whose = ["--officer-key", &officer, "--out", &permit];
    assert_code(&birthmark(&[&new[..], &what, &whose].concat(), b""), 0);

    // While the key waits, it is delivered again and no permit is needed.
    let again = with(&issue, &[&one[..], &["--permit", &permit]].concat());
    assert_eq!(lines(&birthmark(&again, b""))[0]["key"], first["key"]);
    let serial = first["serial"].as_str().unwrap();
    assert_code(
        &birthmark(&["key", "ack", "--config", &config, serial], b""),
        0,
    );
    // Permits that do not count are told: for another key; for another device, though it lasts longer.
    let fingerprint = "ab".repeat(32);
    let other = |name: &str, changed: &[&str], valid: &str| {
        let (permit, fixed) = (file(name), ["--replaces", "0", "--valid", valid]);
        let whose = ["--officer-key", &officer, "--out", &permit];
        assert_code(
            &birthmark(&[&new[..], changed, &fixed, &whose].concat(), b""),
            0,
        );
        permit
    };
    let own_key = ["--identity", "SN-1", "--key-fingerprint", &fingerprint];
    let own_key = other("key.permit", &own_key, "48h");
    let elsewhere = other("SN-2.permit", &["--identity", "SN-2", "--any-key"], "48h");
    for (permit, reason) in [
        (&own_key, "permit-other-key"),
        (&elsewhere, "permit-other-device"),
    ] {
        let asked = with(&issue, &[&one[..], &["--permit", permit]].concat());
        let told = birthmark(&asked, b"");
        assert_code(&told, 1);
        assert_eq!(lines(&told)[0]["reason"], reason);
    }
    // The one that counts is found beside them.
    let all = [
        "--permit", &own_key, "--permit", &elsewhere, "--permit", &permit,
    ];
    let beside = with(&issue, &[&one[..], &all].concat());
    let second = lines(&birthmark(&beside, b""));
    assert_eq!(
        (&second[0]["status"], &second[0]["index"]),
        (&"issued".into(), &1.into())
    );
    assert_opens(&factory, &second[0]);
    let third = lines(&birthmark(&again, b""));
    assert_eq!(third[0]["status"], "existing");
    assert_eq!(third[0]["key"], second[0]["key"]);
}

#[test]
fn a_lost_spool_and_a_lost_file_need_key_init() {
    let (factory, issue) = station();
    let config = factory.path("ca/birthmark.toml");
    let config = config.to_str().unwrap();
    let made = |serial: &str| {
        let serial = format!("serial={serial}");
        birthmark(
            &with(&issue, &["--data", "maker=Acme", "--data", &serial]),
            b"",
        )
    };
    let init = |waiting: u64| {
        let output = birthmark(&["key", "init", "--config", config, "--json"], b"");
        assert_code(&output, 0);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["waiting"], waiting);
    };
    let refused = |about: &str| {
        let output = made("SN-9");
        assert_code(&output, 3);
        let told = error_line(&output);
        assert!(told.contains("birthmark key init"), "{about}: {told}");
    };
    let state = |serial: &str| lines(&made(serial))[0]["key_state"].clone();
    assert_code(&made("SN-1"), 0);

    let spool = factory.path("ca/spool");
    fs::rename(&spool, factory.path("away")).unwrap();
    refused("a spool that is gone");
    init(0);
    assert_eq!(state("SN-1"), "not-kept");
    let second = lines(&made("SN-2"));

    // Damaged at the end of what was written; then moved away; each time nothing is made before somebody says so.
    let path = spool.join("000000000000.keys");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.iter().rposition(|octet| *octet != 0).unwrap();
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    refused("a damaged end");
    let listed = birthmark(&["key", "list", "--config", config], b"");
    assert_code(&listed, 3);
    assert!(error_line(&listed).contains("000000000000.keys"));
    assert_eq!(fs::read(&path).unwrap(), bytes, "nothing is written over");
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(lines(&made("SN-2"))[0]["key"], second[0]["key"]);
    fs::rename(&path, factory.path("damaged")).unwrap();
    refused("a file that was moved away");
    init(0);
    assert_eq!(state("SN-2"), "not-kept");
    let third = lines(&made("SN-3"));
    assert_opens(&factory, &third[0]);
    init(1);
    assert_eq!(lines(&made("SN-3"))[0]["key"], third[0]["key"]);
}

#[test]
fn wrong_usage_is_told_in_one_line() {
    let (factory, issue) = station();
    let config = factory.path("ca/birthmark.toml");
    let config = config.to_str().unwrap();
    let wrong = birthmark(&["key", "ack", "--config", config, "0a0b"], b"");
    assert_code(&wrong, 2);
    assert!(error_line(&wrong).contains("serial number"));
    let missing = birthmark(&with(&issue, &["nowhere.csv"]), b"");
    assert_code(&missing, 2);
    let text = fs::read_to_string(config).unwrap();
    let without = text.split("\n[device_keys]").next().unwrap();
    fs::write(config, without).unwrap();
    let nothing = birthmark(&["key", "list", "--config", config], b"");
    assert_code(&nothing, 2);
    assert!(error_line(&nothing).contains("no device_keys"));
    let undelivered = birthmark(&with(&issue, &["--data", "serial=SN-1"]), b"");
    assert_code(&undelivered, 2);
    assert!(error_line(&undelivered).contains("device_keys.recipient"));
}
