//! A profile loads whole or not at all.

mod faults;

use super::validity::NotAfter;
use super::*;

fn parse(text: &str) -> Result<Profile, String> {
    Profile::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
}

fn ready(name: &str) -> &'static str {
    ReadyMade::by_name(name).unwrap().toml
}

#[test]
fn the_ready_made_profiles_load() {
    for ready in READY_MADE {
        let profile = parse(ready.toml).unwrap_or_else(|error| panic!("{}: {error}", ready.name));
        assert_eq!(profile.name(), ready.name);
        assert!(profile.explain().len() > 8, "{}", ready.name);
    }
    let idevid = parse(IDEVID_TOML).unwrap();
    assert_eq!(idevid.warnings().len(), 1);
    assert_eq!(idevid.validity.not_after, NotAfter::Indefinite);
    let client = parse(TLS_CLIENT_TOML).unwrap();
    let client_auth = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    assert_eq!(client.rules().extended_key_usage, [client_auth]);
    assert!(client.warnings().is_empty());
}

#[test]
fn every_comment_in_a_ready_made_profile_that_shows_a_key_is_true() {
    // Taking the mark from the last commented lines of a profile gives a profile.
    for (name, from) in [
        ("idevid", "# [extensions]"),
        ("matter-paa", "# [[subject]]\n# type = \"VID\""),
        ("tls-server", "# [requested_extensions.subject_alt_name]"),
        ("idevid", "# reissue = \"never\""),
    ] {
        let text = ready(name);
        let at = text.find(from).unwrap();
        let end = text[at..].find("\n\n").map_or(text.len(), |end| at + end);
        let shown = text[at..end].replace("# ", "");
        let changed = format!("{}{shown}{}", &text[..at], &text[end..]);
        assert_ne!(
            parse(&changed).unwrap().digest(),
            parse(text).unwrap().digest()
        );
    }
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
            error.contains("p.toml:1: reissue: use \"never\", \"same-key\" or \"permit\""),
            "{error}"
        );
    }
}

#[test]
fn a_custom_profile_says_everything_itself() {
    let text = "name = \"c\"\nbase = \"custom\"\nidentity = \"{csr.key.id}\"\n\
        [[subject]]\noid = \"1.2.3\"\nstring = \"ia5\"\nvalue = \"{data.x}\"\n\
        [validity]\nhours = 8\nalign = \"hour\"\n[key]\nalgorithms = [\"p256\", \"ed25519\"]\n\
        [extensions]\nkey_usage = [\"digitalSignature\"]\n";
    parse(text).unwrap();
    for (from, to, problem) in [
        (
            "key_usage = [\"digitalSignature\"]",
            "",
            "is empty for P-256 keys",
        ),
        (
            "[\"digitalSignature\"]",
            "[\"keyEncipherment\"]",
            "RFC 8813",
        ),
        (
            "[\"digitalSignature\"]",
            "[\"keyAgreement\"]",
            "does not go with Ed25519 keys",
        ),
        (
            "[\"digitalSignature\"]",
            "[\"keyCertSign\"]",
            "for a CA and for nobody else",
        ),
        (
            "[\"digitalSignature\"]",
            "[\"digitalSignature\", \"encipherOnly\"]",
            "need keyAgreement",
        ),
        ("identity = \"{csr.key.id}\"\n", "", "identity: is missing"),
        (
            "string = \"ia5\"",
            "string = \"bmp\"",
            "\"utf8\", \"printable\" or \"ia5\"",
        ),
    ] {
        let error = parse(&text.replace(from, to)).unwrap_err();
        assert!(error.contains(problem), "{to:?}: {error}");
    }
}
