//! Two tokens behind one module: what happens to the module happens to both.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use birthmark_hsm::{ErrorClass, Pkcs11Uri, PoolOptions, SigningPool, TokenState};
use birthmark_test_token::TestHsm;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

use crate::test_token::TestToken;
use crate::world::{World, assert_adds_up, sign_ok, states, wait_for, wait_for_state};

/// `OBJECT IDENTIFIER` 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1.1).
const P256_PARAMS: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// Held by each test here: they initialize SoftHSM itself, once in a process at a time.
static SOFTHSM: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    SOFTHSM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the same key on several SoftHSM tokens.
fn import(tokens: &[&TestToken]) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let value = key.private_key().as_be_bytes().unwrap();
    let point = key.public_key().as_ref();
    let wrapped = [&[4, point.len() as u8][..], point].concat();
    let common = |class| {
        vec![
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::Token(true),
            Attribute::Label(b"k".to_vec()),
            Attribute::Id(vec![1]),
            Attribute::EcParams(P256_PARAMS.to_vec()),
        ]
    };
    let mut private = common(ObjectClass::PRIVATE_KEY);
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::Value(value.as_ref().to_vec()),
    ]);
    let mut public = common(ObjectClass::PUBLIC_KEY);
    public.extend([Attribute::Verify(true), Attribute::EcPoint(wrapped)]);
    let module = Pkcs11::new(&tokens[0].module).unwrap();
    module
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .unwrap();
    for token in tokens {
        let slot = module
            .get_slots_with_initialized_token()
            .unwrap()
            .into_iter()
            .find(|slot| module.get_token_info(*slot).unwrap().label() == token.label)
            .unwrap();
        let session = module.open_rw_session(slot).unwrap();
        let pin = AuthPin::from(token.pin.as_str());
        session.login(UserType::User, Some(&pin)).unwrap();
        session.create_object(&private).unwrap();
        session.create_object(&public).unwrap();
    }
    module.finalize().unwrap();
}

fn open(front: &TestHsm, tokens: &[&TestToken]) -> SigningPool {
    open_within(front, tokens, PoolOptions::default().call_limit)
}

fn open_within(front: &TestHsm, tokens: &[&TestToken], call_limit: Duration) -> SigningPool {
    let uris: Vec<Pkcs11Uri> = tokens
        .iter()
        .map(|token| {
            let pin = token.directory.path().join("pin");
            Pkcs11Uri::new(front.module(), &token.label, "k", Some(&pin))
        })
        .collect();
    // Only for its options.
    let mut options = World::new([]).options();
    options.call_limit = call_limit;
    SigningPool::pkcs11_tokens(&uris, options).unwrap()
}

fn front(directory: &Path, module: &Path) -> TestHsm {
    let settings = format!("mode = 'forward'\nmodule = '{}'", module.display());
    TestHsm::create(directory, "front", &settings).unwrap()
}

/// Real tokens (SoftHSM), and the whole row of the table for a module that lost its state.
#[test]
fn a_module_that_lost_its_state_takes_all_its_tokens_along_and_brings_them_back() {
    let _alone = alone();
    let (first, second) = (TestToken::create(), TestToken::create());
    let tokens = [&first, &second];
    import(&tokens);
    let directory = tempfile::tempdir().unwrap();
    let front = front(directory.path(), &first.module);
    let pool = open(&front, &tokens);
    sign_ok(&pool, 100);
    for round in 1..=3 {
        front
            .command(
                "fault = { function = 'C_SignInit', at = [5], code = 'CKR_CRYPTOKI_NOT_INITIALIZED' }",
            )
            .unwrap();
        wait_for(&pool, "it is initialized anew", || {
            sign_ok(&pool, 20);
            front.report().unwrap().calls("C_Initialize") > round
        });
        for token in 0..2 {
            wait_for_state(&pool, token, TokenState::Up);
        }
    }
    sign_ok(&pool, 100);
    let report = front.report().unwrap();
    assert_eq!(report.calls("C_Initialize"), 4);
    assert_eq!(report.calls("C_Finalize"), 3);
    let metrics = pool.tokens();
    let module_errors: u64 = metrics.iter().map(|t| t.errors(ErrorClass::Module)).sum();
    assert_eq!(module_errors, 3);
    for token in &metrics {
        let down = states(token)
            .iter()
            .filter(|s| **s == TokenState::Down)
            .count();
        assert_eq!(down, 3, "{token:#?}");
    }
    assert_adds_up(&metrics);
    pool.close().unwrap();
    assert_eq!(front.report().unwrap().sessions_open, 0);
}

/// One token's network swallows its login.
#[test]
fn a_login_that_hangs_holds_up_no_other_token_of_its_module() {
    holds_up_no_sibling("{ function = 'C_Login', at = [1], hang = true }");
}

/// One token does not answer the search for its key.
#[test]
fn a_search_that_hangs_holds_up_no_other_token_of_its_module() {
    holds_up_no_sibling("{ function = 'C_FindObjectsInit', at = [1], hang = true }");
}

/// One token's key is not found, and the session that held its login does not close.
#[test]
fn a_session_that_hangs_while_it_closes_holds_up_no_other_token_of_its_module() {
    holds_up_no_sibling(
        "{ function = 'C_FindObjectsInit', at = [1], code = 'CKR_DEVICE_ERROR' },
         { function = 'C_CloseSession', at = [1], hang = true }",
    );
}

/// The other token behind the same library signs, from the start. With the hang over, both do.
fn holds_up_no_sibling(faults: &str) {
    let _alone = alone();
    let (first, second) = (TestToken::create(), TestToken::create());
    let tokens = [&first, &second];
    import(&tokens);
    let directory = tempfile::tempdir().unwrap();
    let settings = format!(
        "mode = 'forward'\nmodule = '{}'\nfaults = [{faults}]",
        first.module.display()
    );
    let front = TestHsm::create(directory.path(), "front", &settings).unwrap();
    // Starting waits so long for the other token.
    let call_limit = Duration::from_secs(2);
    let pool = open_within(&front, &tokens, call_limit);
    sign_ok(&pool, 100);
    assert_eq!(front.report().unwrap().hung, 1);
    let up = |pool: &SigningPool| {
        let all = pool.tokens();
        all.iter().filter(|t| t.state == TokenState::Up).count()
    };
    assert_eq!(up(&pool), 1);
    front.command("release-hangs").unwrap();
    wait_for(&pool, "both sign", || up(&pool) == 2);
    sign_ok(&pool, 100);
    assert_adds_up(&pool.tokens());
    pool.close().unwrap();
}
