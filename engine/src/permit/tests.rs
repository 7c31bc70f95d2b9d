//! Permits as text and as notes, good ones and every kind of bad one.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::officers::OFFICERS_MAX;
use super::*;
use crate::key::sha256;

pub(crate) const LOG: &str = "example.com/line-7";

/// Someone who signs permits, with a key that comes from the name.
pub(crate) struct Officer {
    key: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl Officer {
    pub(crate) fn new(name: &str) -> Officer {
        let key = Ed25519KeyPair::from_seed_unchecked(&sha256(name.as_bytes())).unwrap();
        let public = key.public_key().as_ref().try_into().unwrap();
        let verifier = VerifierKey::ed25519(name, public).unwrap();
        Officer { key, verifier }
    }

    pub(crate) fn vkey(&self) -> String {
        self.verifier.to_string()
    }

    pub(crate) fn sign(&self, permit: &Permit) -> String {
        self.sign_text(&permit.to_text().unwrap())
    }

    /// A signed note of any text.
    fn sign_text(&self, text: &str) -> String {
        let note = Note {
            text: text.to_owned(),
            signatures: vec![NoteSignature {
                name: self.verifier.name().to_owned(),
                key_id: self.verifier.key_id(),
                signature: self.key.sign(text.as_bytes()).as_ref().to_vec(),
            }],
        };
        note.to_string()
    }
}

const TEXT: &str = "birthmark/permit@v1\nlog example.com/line-7\n\
    issuer 0707070707070707070707070707070707070707\nprofile idevid\n\
    identity idevid sn 0001\n\
    key 0909090909090909090909090909090909090909090909090909090909090909\n\
    replaces 42\nnot-after 2026-12-01T00:00:00Z\nreason board swapped\n";

fn permit() -> Permit {
    Permit {
        log: LOG.to_owned(),
        issuer: [7; 20],
        profile: "idevid".to_owned(),
        identity_domain: "idevid".to_owned(),
        identity: "sn 0001".to_owned(),
        key_fingerprint: Some([9; 32]),
        replaces: 42,
        not_after_s: 1_796_083_200,
        reason: Some("board swapped".to_owned()),
    }
}

fn wanted() -> Wanted<'static> {
    Wanted {
        issuer: &[7; 20],
        profile: "idevid",
        identity_domain: "idevid",
        identity: "SN 0001",
        key_fingerprint: &[9; 32],
        replaces: 42,
        now_s: 1_796_083_200,
    }
}

fn officers() -> Officers {
    let keys = ["ada", "bert"].map(|name| Officer::new(name).vkey());
    Officers::new(LOG, &keys).unwrap()
}

#[test]
fn the_text_is_as_documented() {
    assert_eq!(permit().to_text().unwrap(), TEXT);
    assert_eq!(Permit::from_text(TEXT).unwrap(), permit());
    let plain = Permit {
        key_fingerprint: None,
        reason: None,
        ..permit()
    };
    let text = plain.to_text().unwrap();
    assert!(
        text.contains("\nkey any\n") && !text.contains("reason"),
        "{text}"
    );
    assert_eq!(Permit::from_text(&text).unwrap(), plain);
}

#[test]
fn a_permit_has_one_spelling() {
    let table = [
        ("permit@v1", "permit@v2"),
        ("log example.com/line-7\n", ""),
        ("log example.com", "log  example.com"),
        ("issuer 07", "issuer 0"),
        ("issuer 07", "issuer 0A"),
        ("profile idevid", "profile ide vid"),
        ("identity idevid sn", "identity idevid SN"),
        ("identity idevid sn 0001", "identity idevid"),
        ("key 0909", "key 09"),
        ("key 0909", "key 0A09"),
        ("replaces 42", "replaces 042"),
        ("replaces 42", "replaces +42"),
        ("replaces 42", "replaces -1"),
        ("replaces 42", "replaces 99999999999999999999"),
        ("2026-12-01T00:00:00Z", "2026-12-01"),
        ("2026-12-01T00:00:00Z", "2026-13-01T00:00:00Z"),
        ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00+01:00"),
        ("reason board swapped\n", "reason \n"),
        ("reason board swapped\n", "reason board swapped"),
        ("reason board swapped\n", "reason a\nreason b\n"),
        ("reason board", "Reason board"),
        ("profile idevid\n", "profile idevid\nprofile idevid\n"),
        ("\nreason", "\r\nreason"),
    ];
    for (from, to) in table {
        let text = TEXT.replacen(from, to, 1);
        assert_ne!(text, TEXT);
        assert!(Permit::from_text(&text).is_err(), "{text}");
    }
}

#[test]
fn no_value_begins_a_line_of_its_own() {
    let long = "x".repeat(300);
    let bad = [
        Permit {
            log: "a\nissuer b".to_owned(),
            ..permit()
        },
        Permit {
            log: long.clone(),
            ..permit()
        },
        Permit {
            profile: "a b".to_owned(),
            ..permit()
        },
        Permit {
            identity_domain: String::new(),
            ..permit()
        },
        Permit {
            identity: "sn\nkey any".to_owned(),
            ..permit()
        },
        Permit {
            identity: "SN".to_owned(),
            ..permit()
        },
        Permit {
            identity: "s\u{e9}".to_owned(),
            ..permit()
        },
        Permit {
            identity: long.clone(),
            ..permit()
        },
        Permit {
            reason: Some("a\n\nb".to_owned()),
            ..permit()
        },
        Permit {
            reason: Some(long),
            ..permit()
        },
        Permit {
            not_after_s: u64::MAX,
            ..permit()
        },
    ];
    for permit in bad {
        assert!(permit.to_text().is_err(), "{permit:?}");
    }
}

#[test]
fn what_an_officer_signed_counts() {
    let note = Officer::new("bert").sign(&permit());
    let digest = officers().check(note.as_bytes(), &wanted()).unwrap();
    assert_eq!(digest, sha256(note.as_bytes()));
    // Signatures by unknown keys beside it are passed over.
    let other = Officer::new("eve").sign(&permit());
    let signature = other.lines().last().unwrap();
    let both = format!("{note}{signature}\n");
    assert!(officers().check(both.as_bytes(), &wanted()).is_ok());
    let made = Officer::new("ada");
    let signature = made.key.sign(TEXT.as_bytes());
    let note = permit().signed(&made.verifier, signature.as_ref()).unwrap();
    assert_eq!(note, made.sign(&permit()));
    assert!(officers().check(note.as_bytes(), &wanted()).is_ok());
    let wrong = permit().signed(&Officer::new("bert").verifier, signature.as_ref());
    assert_eq!(wrong, Err(PermitError::Signature("bert".to_owned())));
}

#[test]
fn every_mismatch_has_its_own_reason() {
    type Change = fn(&mut Permit);
    let changes: [(Change, &str); 8] = [
        (|permit| permit.log.push('x'), "permit-other-log"),
        (|permit| permit.issuer[0] ^= 1, "permit-other-issuer"),
        (|permit| permit.profile.push('x'), "permit-other-profile"),
        (|permit| permit.identity.push('x'), "permit-other-device"),
        (
            |permit| permit.identity_domain.push('x'),
            "permit-other-device",
        ),
        (|permit| permit.replaces += 1, "permit-other-entry"),
        (
            |permit| permit.key_fingerprint = Some([8; 32]),
            "permit-other-key",
        ),
        (|permit| permit.not_after_s -= 1, "permit-expired"),
    ];
    for (change, reason) in changes {
        let mut permit = permit();
        change(&mut permit);
        let note = Officer::new("ada").sign(&permit);
        let problem = officers().check(note.as_bytes(), &wanted()).unwrap_err();
        assert_eq!(problem.facts().1, reason, "{problem}");
    }
}

#[test]
fn what_no_officer_signed_does_not_count() {
    let reason = |note: &str| match officers().check(note.as_bytes(), &wanted()) {
        Ok(_) => "none",
        Err(problem) => problem.facts().1,
    };
    let note = Officer::new("ada").sign(&permit());
    assert_eq!(reason(&note), "none");
    assert_eq!(
        reason(&Officer::new("eve").sign(&permit())),
        "permit-unknown-officer"
    );
    // Every value is under the signature.
    for (from, to) in [("42", "43"), ("sn 0001", "sn 0002"), ("2026", "2036")] {
        assert_eq!(reason(&note.replacen(from, to, 1)), "permit-forged", "{to}");
    }
    // Eve calls herself ada: another key, another key id.
    let eve = Officer::new("eve").sign(&permit());
    assert_eq!(
        reason(&eve.replace("\u{2014} eve ", "\u{2014} ada ")),
        "permit-unknown-officer"
    );
    // A signature of ada's over something else.
    let mut other = permit();
    other.replaces = 7;
    let other = Officer::new("ada").sign(&other);
    let spliced = format!("{TEXT}\n{}\n", other.lines().last().unwrap());
    assert_eq!(reason(&spliced), "permit-forged");
    // One bad signature of an officer spoils the note, whoever else signed.
    let bert = Officer::new("bert").sign(&permit());
    let both = format!("{spliced}{}\n", bert.lines().last().unwrap());
    assert_eq!(reason(&both), "permit-forged");
    // Signed, but no permit.
    assert_eq!(
        reason(&Officer::new("ada").sign_text("hello\n")),
        "permit-malformed"
    );
    for malformed in [
        "",
        "\n\n",
        TEXT,
        &note[..note.len() - 9],
        &"x".repeat(5_000),
    ] {
        assert_eq!(reason(malformed), "permit-malformed", "{malformed:?}");
    }
}

#[test]
fn the_longest_permit_fits() {
    let longest = Permit {
        log: "l".repeat(LOG_BYTES_MAX),
        profile: "p".repeat(NAME_BYTES_MAX),
        identity_domain: "d".repeat(NAME_BYTES_MAX),
        identity: "i".repeat(IDENTITY_BYTES_MAX),
        replaces: u64::MAX,
        reason: Some("\u{1f3ed}".repeat(REASON_CHARS_MAX)),
        ..permit()
    };
    let officer = Officer::new(&"n".repeat(255));
    let note = officer.sign(&longest);
    let signature = note.lines().last().unwrap().len() + 1;
    assert!(
        note.len() + 5 * signature <= PERMIT_BYTES_MAX,
        "{} {signature}",
        note.len()
    );
    assert_eq!(Permit::read_unverified(note.as_bytes()).unwrap(), longest);
}

#[test]
fn lists_of_officers() {
    let ada = Officer::new("ada").vkey();
    // A witness signs other things, by another type of signature.
    let witness = VerifierKey::cosigner("ada", *Officer::new("ada").verifier.public_key());
    assert!(Officers::new(LOG, std::slice::from_ref(&ada)).is_ok());
    let bad = [
        vec![],
        vec![ada.clone(), ada.clone()],
        vec!["ada".to_owned()],
        vec![ada[..ada.len() - 4].to_owned()],
        vec![ada.replace("ada", "eve")],
        vec![String::new()],
        vec![witness.unwrap().to_string()],
        vec![ada; OFFICERS_MAX + 1],
    ];
    for keys in bad {
        assert!(Officers::new(LOG, &keys).is_err(), "{keys:?}");
    }
}

#[test]
fn no_note_panics() {
    let note = Officer::new("ada").sign(&permit());
    for at in 0..note.len() {
        for byte in [0, b'\n', b' ', 0xff] {
            let mut bytes = note.clone().into_bytes();
            bytes[at] = byte;
            let changed = bytes != note.as_bytes();
            let checked = officers().check(&bytes, &wanted());
            assert_eq!(checked.is_err(), changed, "{byte:#x} at {at}");
        }
        assert!(officers().check(&note.as_bytes()[..at], &wanted()).is_err());
    }
}
