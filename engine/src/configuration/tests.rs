use std::time::Duration;

use super::*;

const TOKEN: &str = "pkcs11:token=t;object=k?module-path=/m.so";

fn load(issuer: &str) -> Result<Configuration, ConfigurationError> {
    load_with(issuer, "")
}

fn load_with(issuer: &str, engine: &str) -> Result<Configuration, ConfigurationError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("birthmark.toml");
    let text = format!(
        "[issuer]\ncertificate = 'c.pem'\n{issuer}\n[log]\ndirectory = 'log'\n\
         origin = 'o'\nkey = 'k'\n[engine]\nprofiles = []\n{engine}\n"
    );
    std::fs::write(&path, text).unwrap();
    Configuration::load(&path)
}

#[test]
fn one_signer_or_a_list() {
    let one = load("signer = 'software:key.pem'").unwrap();
    let [SignerLocation::Software(path)] = one.signers() else {
        panic!("{one:?}")
    };
    assert!(path.is_absolute(), "taken from the file's folder");
    let folder = path.parent().unwrap();
    assert_eq!(one.pool.state_directory.as_deref(), Some(folder));
    assert!(!one.pool.adaptive);
    assert_eq!(one.pool.call_limit, Duration::from_secs(10));
    assert_eq!(one.pool.wait_limit, Duration::from_secs(30));
    assert_eq!(one.pool.probe_interval_max, Duration::from_secs(300));

    let several = load(&format!(
        "signers = ['{TOKEN}', '{TOKEN}']\nsessions = 'adaptive'\ncall_limit_s = 5\n\
         wait_limit_s = 60\nprobe_interval_max_s = 30"
    ));
    let several = several.unwrap();
    assert_eq!(several.signers().len(), 2);
    assert!(several.pool.adaptive);
    assert_eq!(several.pool.call_limit, Duration::from_secs(5));
    assert_eq!(several.pool.wait_limit, Duration::from_secs(60));
    assert_eq!(several.pool.probe_interval_max, Duration::from_secs(30));

    let counted = load(&format!("signer = '{TOKEN}'\nsessions = 4")).unwrap();
    assert_eq!(counted.pool.tokens.sessions, Some(4));
}

#[test]
fn a_wrong_value_is_told_with_its_key() {
    let many = format!("signers = [{}]", format!("'{TOKEN}', ").repeat(17));
    let both = format!("signer = '{TOKEN}'\nsigners = ['{TOKEN}']");
    let with = |more: &str| format!("signer = '{TOKEN}'\n{more}");
    let table = [
        (String::new(), "issuer.signer"),
        ("signer = 'key.pem'".to_owned(), "issuer.signer"),
        ("signers = []".to_owned(), "issuer.signers"),
        ("signers = ['key.pem']".to_owned(), "issuer.signers"),
        (many, "issuer.signers"),
        (both, "issuer.signers"),
        (with("sessions = 'some'"), "issuer.sessions"),
        (with("call_limit_s = 0"), "issuer.call_limit_s"),
        (with("wait_limit_s = 3601"), "issuer.wait_limit_s"),
        (
            with("probe_interval_max_s = 0"),
            "issuer.probe_interval_max_s",
        ),
    ];
    for (issuer, key) in table {
        match load(&issuer) {
            Err(ConfigurationError::Value { key: told, .. }) => assert_eq!(told, key),
            other => panic!("{issuer}: {other:?}"),
        }
    }
}

#[test]
fn verification_is_automatic_unless_the_configuration_says_scalar() {
    let signer = "signer = 'software:key.pem'";
    let table = [
        ("", Verification::Auto),
        ("verification = 'auto'", Verification::Auto),
        ("verification = 'scalar'", Verification::Scalar),
    ];
    for (engine, expected) in table {
        assert_eq!(load_with(signer, engine).unwrap().verification, expected);
    }
    let told = load_with(signer, "verification = 'lanes'").unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("engine.verification") && told.contains("scalar"),
        "{told}"
    );
}
