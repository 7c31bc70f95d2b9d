//! A profile loads whole or not at all.

use super::*;

fn parse(text: &str) -> Result<Profile, String> {
    Profile::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
}

#[test]
fn the_written_profiles_load() {
    let idevid = parse(IDEVID_TOML).unwrap();
    assert_eq!(idevid.name(), "idevid");
    assert_eq!(idevid.warnings().len(), 1);
    assert_eq!(idevid.validity.not_after, NotAfter::Indefinite);
    let client = parse(TLS_CLIENT_TOML).unwrap();
    assert_eq!(client.rules().extended_key_usage, [CLIENT_AUTH]);
    assert!(client.warnings().is_empty());
}

#[test]
fn reissue_is_one_of_three_and_never_by_default() {
    assert_eq!(parse(IDEVID_TOML).unwrap().reissue(), Reissue::Never);
    let named = |name: &str| parse(&format!("reissue = \"{name}\"\n{IDEVID_TOML}"));
    for (name, reissue) in [
        ("never", Reissue::Never),
        ("same-key", Reissue::SameKey),
        ("permit", Reissue::Permit),
    ] {
        assert_eq!(named(name).unwrap().reissue(), reissue);
    }
    for name in ["", "always", "Never", "same_key"] {
        let error = named(name).unwrap_err();
        assert!(
            error.contains("p.toml: reissue: use \"never\", \"same-key\" or \"permit\""),
            "{error}"
        );
    }
}

#[test]
fn each_fault_names_its_key() {
    let table = [
        (
            IDEVID_TOML.replace("serialNumber}\"", "serial}\""),
            "identity",
        ),
        (
            IDEVID_TOML.replace("99991231235959Z", "20301231235959Z"),
            "validity.not_after",
        ),
        (
            TLS_CLIENT_TOML.replace("days = 3650", "days = 0"),
            "validity.days",
        ),
        (
            TLS_CLIENT_TOML.replace("days = 3650", "not_after = \"99991231235959Z\""),
            "validity",
        ),
        (
            TLS_CLIENT_TOML.replace("type = \"CN\"", "type = \"XX\""),
            "subject.XX",
        ),
        (
            TLS_CLIENT_TOML.replace("type = \"CN\"", "type = \"O\""),
            "subject",
        ),
        (
            IDEVID_TOML.replace("1.3.6.1.4.1.32473.1", "one.two"),
            "hardware_module_name.type",
        ),
        (
            IDEVID_TOML.replace("name = \"idevid\"", "name = \"a b\""),
            "name",
        ),
        (
            IDEVID_TOML.replace("[\"p256\", \"p384\", \"ed25519\", \"rsa\"]", "[]"),
            "key.algorithms",
        ),
        (
            IDEVID_TOML.replace("[validity]", "[validity]\ncolor = 1"),
            "line 30",
        ),
        (
            IDEVID_TOML.replace("base = \"idevid\"", "base = \"x\""),
            "line 5",
        ),
    ];
    for (text, key) in table {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(&format!("p.toml: {key}")), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
