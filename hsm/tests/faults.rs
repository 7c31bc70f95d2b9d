//! What is tried when a token fails, and what is not: a module that forwards to SoftHSM and returns
//! errors on demand.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use birthmark_hsm::{
    ErrorClass, GenerateError, KeyAlgorithm, OpenError, PinError, Pkcs11Options, Pkcs11Uri,
    PoolOptions, RsaSignature, SignError, SigningPool, TokenState, generate_key_pair,
};
use birthmark_test_token::{Report, TestHsm};
use cryptoki::context::Pkcs11;
use cryptoki::object::Attribute;

mod test_token;
use test_token::{TestToken, messages, sign_all, verifies, verifies_as};

/// The test HSM in front of a SoftHSM token with the key `k`.
struct FaultyToken {
    token: TestToken,
    hsm: TestHsm,
    /// What had happened when the pool was opened.
    before: Mutex<Report>,
    /// All of them forward to one SoftHSM, which is initialized once: one test at a time.
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl FaultyToken {
    fn create() -> FaultyToken {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let token = TestToken::create();
        generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
        let module = token.module.to_str().unwrap();
        let settings = format!("mode = 'forward'\nmodule = '{module}'");
        FaultyToken {
            hsm: TestHsm::create(token.directory.path(), "front", &settings).unwrap(),
            token,
            before: Mutex::default(),
            _one_at_a_time: one_at_a_time,
        }
    }

    fn uri(&self, object: &str, pin: &str) -> Pkcs11Uri {
        let pin = self.token.directory.path().join(pin);
        Pkcs11Uri::new(self.hsm.module(), &self.token.label, object, Some(&pin))
    }

    fn open(&self, sessions: usize, key_copy: bool) -> SigningPool {
        let options = Pkcs11Options {
            sessions: Some(sessions),
            key_copy,
            ..Pkcs11Options::default()
        };
        self.clear();
        let pool = SigningPool::pkcs11(&self.uri("k", "pin"), options).unwrap();
        *self.before.lock().unwrap() = self.hsm.report().unwrap();
        pool
    }

    /// A pool that probes a token that is down without delay.
    fn open_probing(&self, sessions: usize) -> SigningPool {
        let mut options = PoolOptions::default();
        options.tokens.sessions = Some(sessions);
        options.probe_interval_max = Duration::from_millis(10);
        SigningPool::pkcs11_tokens(&[self.uri("k", "pin")], options).unwrap()
    }

    /// From now on the calls of these numbers, or with `ALWAYS` all, return the code.
    fn fail(&self, function: &str, at: &[u64], code: &str) {
        let code = match code.strip_prefix("CKR 0x") {
            Some(number) => format!("0x{number}"),
            None => format!("'{code}'"),
        };
        self.fault(function, at, &format!("code = {code}"));
    }

    fn fault(&self, function: &str, at: &[u64], what: &str) {
        let at = match at {
            ALWAYS => "every = 1".to_owned(),
            at => format!("at = {at:?}"),
        };
        let fault = format!("fault = {{ function = '{function}', {at}, {what} }}");
        self.hsm.command(&fault).unwrap();
    }

    /// From now on nothing fails.
    fn clear(&self) {
        self.hsm.command("clear-faults").unwrap();
    }

    /// Calls of the function since the pool was opened.
    fn calls(&self, function: &str) -> u64 {
        let before = self.before.lock().unwrap().calls(function);
        self.hsm.report().unwrap().calls(function) - before
    }
}

const ALWAYS: &[u64] = &[];

#[test]
fn a_signature_is_one_sign_init_and_one_sign() {
    let token = FaultyToken::create();
    for key_copy in [false, true] {
        let pool = token.open(2, key_copy);
        assert!(sign_all(&pool, &messages(50)).iter().all(Result::is_ok));
        for (function, expected) in [
            ("C_SignInit", 50),
            ("C_Sign", 50),
            ("C_Login", 0),
            ("C_OpenSession", 0),
            ("C_FindObjectsInit", 0),
            ("C_GetAttributeValue", 0),
        ] {
            assert_eq!(token.calls(function), expected, "{function}");
        }
        pool.close().unwrap();
    }
}

/// p11-kit's client gives each caller an instance of its own: the wrapper has to sign then.
#[test]
fn a_module_with_an_instance_per_caller_signs_through_the_wrapper() {
    let token = FaultyToken::create();
    for (algorithm, rsa_signature) in [
        (KeyAlgorithm::EcP256, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::EcP521, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Ed25519, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa2048, RsaSignature::Pkcs1v15),
        (KeyAlgorithm::Rsa2048, RsaSignature::Pss),
    ] {
        let uri = token.uri(&format!("{algorithm}-{rsa_signature}"), "pin");
        let key = generate_key_pair(&uri, algorithm).unwrap();
        token.fail("C_GetSessionInfo", &[1], "CKR_CRYPTOKI_NOT_INITIALIZED");
        let options = Pkcs11Options {
            sessions: Some(2),
            rsa_signature,
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&uri, options).unwrap();
        assert!(pool.describe().ends_with("two C_Sign calls per signature"));
        let before = token.calls("C_Sign");
        let messages = messages(20);
        for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
            let signature = outcome.unwrap();
            let verifies = verifies_as(rsa_signature, &key, message, signature.as_bytes());
            assert!(verifies, "{algorithm} {rsa_signature}");
        }
        assert_eq!(token.calls("C_Sign") - before, 40);
        token.fail("C_SignInit", &[1], "CKR_MECHANISM_INVALID");
        let errors = failures(&pool, 5);
        assert_eq!(errors.len(), 1);
        assert_eq!(
            (errors[0].class(), errors[0].function()),
            (ErrorClass::Request, Some("C_SignInit"))
        );
        pool.close().unwrap();
    }
}

#[test]
fn opening_logs_in_once_and_a_wrong_pin_is_sent_once() {
    let token = FaultyToken::create();
    let options = || Pkcs11Options {
        sessions: Some(4),
        key_copy: false,
        ..Pkcs11Options::default()
    };
    SigningPool::pkcs11(&token.uri("k", "pin"), options())
        .unwrap()
        .close()
        .unwrap();
    assert_eq!(
        (token.calls("C_Login"), token.calls("C_OpenSession")),
        (1, 5)
    );

    let error = SigningPool::pkcs11(&token.uri("k", "wrong pin"), options()).unwrap_err();
    assert!(
        matches!(error, OpenError::Pin(PinError::Refused { .. })),
        "{error}"
    );
    assert_eq!(token.calls("C_Login"), 2);
}

/// What the class of each error allows is tried, and the job succeeds.
#[test]
fn remedies_mend_a_job() {
    let token = FaultyToken::create();
    // Function, from which call on it fails, what it returns then one after the other, and the
    // remedies used: session, handle, login.
    let cases = [
        (
            "C_SignInit",
            11,
            &["CKR_SESSION_HANDLE_INVALID"][..],
            [1, 0, 0],
        ),
        ("C_Sign", 11, &["CKR_SESSION_CLOSED"], [1, 0, 0]),
        ("C_SignInit", 1, &["CKR_OPERATION_ACTIVE"], [1, 0, 0]),
        ("C_SignInit", 11, &["CKR_KEY_HANDLE_INVALID"], [0, 1, 0]),
        ("C_SignInit", 11, &["CKR_OBJECT_HANDLE_INVALID"], [0, 1, 0]),
        ("C_SignInit", 11, &["CKR_USER_NOT_LOGGED_IN"], [0, 0, 1]),
        (
            "C_SignInit",
            11,
            &[
                "CKR_SESSION_HANDLE_INVALID",
                "CKR_USER_NOT_LOGGED_IN",
                "CKR_KEY_HANDLE_INVALID",
            ],
            [1, 1, 1],
        ),
    ];
    for key_copy in [false, true] {
        for (function, first, codes, [sessions, keys, logins]) in cases {
            let pool = token.open(1, key_copy);
            for (call, code) in (first..).zip(codes) {
                token.fail(function, &[call], code);
            }
            let messages = messages(40);
            for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
                let signature = outcome.unwrap_or_else(|error| panic!("{codes:?}: {error}"));
                assert!(
                    verifies(pool.public_key(), message, &signature),
                    "{codes:?}"
                );
            }
            let metrics = pool.metrics();
            assert_eq!(metrics.sessions_reopened, sessions, "{codes:?}");
            assert_eq!(metrics.keys_found_again, keys, "{codes:?}");
            assert_eq!(metrics.logins_renewed, logins, "{codes:?}");
            assert_eq!(
                (metrics.signatures, metrics.errors_total()),
                (40, 0),
                "{codes:?}"
            );
            assert_eq!(token.calls("C_Login"), logins, "{codes:?}");
            let copies = if key_copy { sessions + keys } else { 0 };
            assert_eq!(token.calls("C_CopyObject"), copies, "{codes:?}");
            pool.close().unwrap();
        }
    }
}

/// The errors of `count` jobs.
fn failures(pool: &SigningPool, count: usize) -> Vec<SignError> {
    sign_all(pool, &messages(count))
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

#[test]
fn a_lost_anchor_is_replaced() {
    let token = FaultyToken::create();
    for key_copy in [false, true] {
        let pool = token.open(2, key_copy);
        // The key must be found again, and the anchor that would look for it is gone.
        token.fail("C_SignInit", &[4], "CKR_KEY_HANDLE_INVALID");
        token.fail("C_FindObjectsInit", &[1], "CKR_SESSION_HANDLE_INVALID");
        assert_eq!(failures(&pool, 40), []);
        assert_eq!(token.calls("C_OpenSession"), 1);
        assert_eq!(pool.metrics().keys_found_again, 1);
        // So does the login.
        token.fail("C_SignInit", &[4], "CKR_USER_NOT_LOGGED_IN");
        token.fail("C_Login", &[1], "CKR_SESSION_HANDLE_INVALID");
        assert_eq!(failures(&pool, 40), []);
        assert_eq!(
            (token.calls("C_OpenSession"), token.calls("C_Login")),
            (2, 2)
        );
        pool.close().unwrap();
    }
}

/// A session that gets no copy of the key in the place of one that was refused signs no more, and another takes its place.
#[test]
fn a_copy_that_is_refused_costs_its_session_and_no_job() {
    let token = FaultyToken::create();
    for code in [
        "CKR_GENERAL_ERROR",
        "CKR_KEY_HANDLE_INVALID",
        "CKR_ACTION_PROHIBITED",
    ] {
        let pool = token.open(2, true);
        token.fail("C_SignInit", &[4], "CKR_KEY_HANDLE_INVALID");
        token.fail("C_CopyObject", &[1], code);
        assert_eq!(failures(&pool, 200), [], "{code}");
        assert!(token.calls("C_CopyObject") >= 1, "{code}");
        let metrics = pool.metrics();
        assert_eq!((metrics.signatures, metrics.tokens_up), (200, 1), "{code}");
        pool.close().unwrap();
    }
}

/// What the token refuses fails its own job, at once, and no other.
#[test]
fn a_request_that_is_refused_fails_one_job_and_is_not_tried_again() {
    let token = FaultyToken::create();
    let cases = [
        (ErrorClass::Request, "CKR_MECHANISM_INVALID"),
        (ErrorClass::Request, "CKR_KEY_TYPE_INCONSISTENT"),
        (ErrorClass::Request, "CKR_ARGUMENTS_BAD"),
    ];
    for (class, name) in cases {
        let pool = token.open(2, false);
        token.fail("C_SignInit", &[6], name);
        let outcomes = sign_all(&pool, &messages(40));
        let errors: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .collect();
        let [error] = errors[..] else {
            panic!("{name}: {errors:?}")
        };
        assert_eq!(
            (error.class(), error.function()),
            (class, Some("C_SignInit")),
            "{name}"
        );
        assert_eq!(error.code().unwrap().to_string(), name);
        let shown = error.to_string();
        for part in [
            name,
            "C_SignInit",
            token.token.label.as_str(),
            class.advice(),
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let metrics = pool.metrics();
        assert_eq!(
            (
                metrics.signatures,
                metrics.errors(class),
                metrics.errors_total()
            ),
            (39, 1, 1)
        );
        assert_eq!(token.calls("C_SignInit"), 40, "{name} was tried again");
        pool.close().unwrap();
    }
}

#[test]
fn a_signature_that_was_broken_off_does_not_spoil_its_session() {
    let token = FaultyToken::create();
    let pool = token.open(1, false);
    // C_SignInit went through, C_Sign did not: the next C_SignInit finds the operation active.
    token.fail("C_Sign", &[6], "CKR_GENERAL_ERROR");
    assert_eq!(failures(&pool, 40), []);
    assert_eq!(pool.metrics().sessions_reopened, 1);
}

#[test]
fn a_remedy_that_does_not_help_is_used_once_per_attempt() {
    let token = FaultyToken::create();
    let pool = token.open_probing(2);
    token.fail("C_SignInit", ALWAYS, "CKR_SESSION_HANDLE_INVALID");
    for outcome in sign_all(&pool, &messages(20)) {
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Session);
    }
    // Seven attempts a job, each session's first and the one after its remedy.
    let told = &pool.tokens()[0];
    assert_eq!((told.attempts, told.failed, told.signatures), (140, 20, 0));
    assert_eq!(told.attempts, told.retries + told.failed);
    assert_eq!(token.calls("C_SignInit"), 140);
    // And when the token is well again, so is the pool.
    token.clear();
    assert!(sign_all(&pool, &messages(20)).iter().all(Result::is_ok));
    pool.close().unwrap();
}

#[test]
fn a_session_that_cannot_be_reopened_takes_the_token_down_until_it_can() {
    let token = FaultyToken::create();
    let pool = token.open_probing(1);
    token.fail("C_SignInit", &[1, 2, 3], "CKR_SESSION_HANDLE_INVALID");
    token.fail("C_OpenSession", &[1, 2], "CKR_DEVICE_REMOVED");
    assert_eq!(failures(&pool, 10), []);
    let states: Vec<TokenState> = pool.tokens()[0].history.iter().map(|c| c.to).collect();
    let (up, down) = (TokenState::Up, TokenState::Down);
    assert_eq!(states, [up, down, up]);
}

#[test]
fn a_pin_that_is_refused_when_the_login_is_renewed_is_never_sent_again() {
    let token = FaultyToken::create();
    let pool = token.open(4, false);
    token.fail("C_SignInit", ALWAYS, "CKR_USER_NOT_LOGGED_IN");
    token.fail("C_Login", ALWAYS, "CKR_PIN_INCORRECT");
    for outcome in sign_all(&pool, &messages(100)) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, SignError::PinRefused { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Pin);
        assert_eq!(error.code().unwrap().name(), Some("CKR_PIN_INCORRECT"));
    }
    assert_eq!(token.calls("C_Login"), 1);
    assert_eq!(pool.metrics().errors(ErrorClass::Pin), 100);
    pool.close().unwrap();
}

#[test]
fn a_signature_of_the_wrong_length_is_no_signature() {
    let token = FaultyToken::create();
    let pool = token.open(1, false);
    token.fault("C_Sign", &[1], "signature = 'short'");
    assert_eq!(failures(&pool, 3), []);
    let told = &pool.tokens()[0];
    assert_eq!((told.attempts, told.signatures, told.retries), (4, 3, 1));
    assert_eq!(told.errors(ErrorClass::Device), 1);
    pool.close().unwrap();
    // It is the same every time: the job has it in the end.
    token.fault("C_Sign", ALWAYS, "signature = 'short'");
    let pool = token.open_probing(1);
    let errors = failures(&pool, 1);
    let [
        SignError::MalformedSignature {
            expected: 64,
            found: 63,
            ..
        },
    ] = errors[..]
    else {
        panic!("{errors:?}")
    };
}

#[test]
fn another_key_under_the_same_name_does_not_sign() {
    let token = FaultyToken::create();
    let pool = token.open(1, false);
    // Behind the pool's back: the same SoftHSM, in which the pool is logged in.
    let module = Pkcs11::new(&token.token.module).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| module.get_token_info(*slot).unwrap().label() == token.token.label)
        .unwrap();
    let session = module.open_rw_session(slot).unwrap();
    for object in session
        .find_objects(&[Attribute::Label(b"k".to_vec())])
        .unwrap()
    {
        session.destroy_object(object).unwrap();
    }
    let other = generate_key_pair(&token.uri("k", "pin"), KeyAlgorithm::EcP256).unwrap();
    assert_ne!(*pool.public_key(), other);
    for outcome in sign_all(&pool, &messages(5)) {
        assert_eq!(outcome.unwrap_err().class(), ErrorClass::Handle);
    }
    assert_eq!(pool.metrics().keys_found_again, 0);
    session.close().unwrap();
    pool.close().unwrap();
}

#[test]
fn a_generated_key_that_is_not_protected_is_destroyed() {
    let token = FaultyToken::create();
    let uri = token.uri("new", "pin");
    token.fault("C_GetAttributeValue", ALWAYS, "extractable = true");
    let error = generate_key_pair(&uri, KeyAlgorithm::EcP256).unwrap_err();
    assert!(
        matches!(&error, GenerateError::NotProtected { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("never extractable"), "{error}");
    token.clear();
    // The label is free: nothing of the refused key is left.
    generate_key_pair(&uri, KeyAlgorithm::EcP256).unwrap();
}
