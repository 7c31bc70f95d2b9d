//! What a real token (SoftHSM) says of itself and of a key, and the end of a key.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use birthmark_hsm::{
    DestroyError, KeyAlgorithm, KeyError, OpenError, Pkcs11Options, SessionLimit, SigningPool,
    destroy_key_pair, generate_key_pair, generate_reported_key_pair, inspect_module, inspect_uri,
    report_key, softhsm,
};

mod own_process;
mod test_token;
use test_token::{TestToken, module};

/// One test at a time: SoftHSM shows no tokens while another is being made beside it.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_new_key_is_reported_as_it_was_asked_for() {
    let _alone = alone();
    let token = TestToken::create();
    for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::Rsa2048] {
        let uri = token.uri(algorithm.name());
        let made = generate_reported_key_pair(&uri, algorithm).unwrap();
        assert!(made.not_as_asked().is_empty(), "{made:?}");
        assert!(!made.is_imported());
        assert_eq!(made.public_key.algorithm(), Some(algorithm));
        let again = report_key(&uri).unwrap();
        assert_eq!(again.attributes, made.attributes);
        assert_eq!(
            (again.id, again.label),
            (made.id, algorithm.name().to_owned())
        );
        let value = |name: &str| {
            let attribute = made.attributes.iter().find(|one| one.name == name);
            attribute.and_then(|one| one.value.clone())
        };
        for name in [
            "CKA_DECRYPT",
            "CKA_UNWRAP",
            "CKA_DERIVE",
            "CKA_SIGN_RECOVER",
        ] {
            assert_eq!(value(name).as_deref(), Some("false"), "{algorithm} {name}");
        }
    }
}

#[test]
fn a_key_is_destroyed_only_if_it_is_the_expected_one() {
    let _alone = alone();
    let token = TestToken::create();
    let (first, second) = (token.uri("first"), token.uri("second"));
    let first_key = generate_key_pair(&first, KeyAlgorithm::EcP256).unwrap();
    let second_key = generate_key_pair(&second, KeyAlgorithm::EcP256).unwrap();
    let refused = destroy_key_pair(&first, &second_key);
    assert!(
        matches!(refused, Err(DestroyError::OtherKey { .. })),
        "{refused:?}"
    );
    assert_eq!(report_key(&first).unwrap().public_key, first_key);
    destroy_key_pair(&first, &first_key).unwrap();
    for _ in 0..2 {
        let gone = report_key(&first);
        let unknown = matches!(gone, Err(OpenError::Key(KeyError::Unknown { .. })));
        assert!(unknown, "{gone:?}");
    }
    // The label is free again, public half and all, and the other key is as it was.
    generate_key_pair(&first, KeyAlgorithm::EcP256).unwrap();
    let pool = SigningPool::pkcs11(&second, Pkcs11Options::default()).unwrap();
    assert_eq!(*pool.public_key(), second_key);
    pool.close().unwrap();
}

/// With tokens of its own: the module shows no more than so many, and other tests leave theirs.
#[test]
fn a_token_is_described_without_a_login() {
    let _alone = alone();
    let own = |directory: &Path| {
        let configuration = softhsm::configure(directory).unwrap();
        vec![(softhsm::CONFIGURATION_VARIABLE, configuration.into())]
    };
    if own_process::enter("a_token_is_described_without_a_login", own).is_none() {
        return;
    }
    let token = TestToken::create();
    let described = inspect_uri(&token.uri("no such key")).unwrap();
    let [slot] = &described.slots[..] else {
        panic!("one token fits: {described:?}");
    };
    let found = slot.token.as_ref().unwrap();
    assert_eq!(found.label, token.label);
    assert!(found.login_required && found.initialized && !found.write_protected);
    assert_ne!(found.sessions_max, SessionLimit::Most(0));
    let ecdsa = found
        .mechanisms
        .iter()
        .find(|one| one.name == "CKM_ECDSA")
        .unwrap();
    let (smallest, largest) = ecdsa.key_size.unwrap();
    assert!(smallest <= 256 && largest >= 384, "{ecdsa:?}");
    // The module shows this token, and one that is not initialized.
    let all = inspect_module(&module()).unwrap();
    let tokens = all.slots.iter().filter_map(|slot| slot.token.as_ref());
    let (ours, others): (Vec<_>, Vec<_>) = tokens.partition(|one| one.initialized);
    assert_eq!((ours.len(), others.len()), (1, 1), "{all:?}");
    assert_eq!(ours[0].label, token.label);
}
