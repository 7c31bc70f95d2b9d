//! The token by itself.

use super::*;
use std::path::Path;

fn token(more: &str) -> Token {
    let text = format!("mode = 'software'\npin = '1234'\n{more}");
    let configuration = Configuration::parse(&text, Path::new("/")).unwrap();
    let pin = configuration.pin.clone().unwrap();
    Token::start(&configuration, pin, configuration.keys.choice).unwrap()
}

fn logged_in(token: &Token) -> (CK_SESSION_HANDLE, CK_OBJECT_HANDLE) {
    let session = token.sessions().open(false).unwrap();
    token.login(session, CKU_USER, b"1234").unwrap();
    let class = CKO_PRIVATE_KEY.to_ne_bytes().to_vec();
    token.find_init(session, &vec![(CKA_CLASS, class)]).unwrap();
    let key = token.find(session, 10).unwrap()[0];
    token.find_final(session).unwrap();
    (session, key)
}

fn code<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    outcome.unwrap_err().to_string()
}

const DIGEST: &[u8] = &[7; DIGEST_LEN];

#[test]
fn a_signature_needs_login_mechanism_key_and_digest() {
    let token = token("");
    let session = token.sessions().open(false).unwrap();
    let key = Object::Private.handle(1);
    let init = |mechanism, key| token.sign_init(session, mechanism, key);
    assert_eq!(code(init(CKM_ECDSA, key)), "CKR_USER_NOT_LOGGED_IN");
    token.login(session, CKU_USER, b"1234").unwrap();
    assert_eq!(code(init(CKM_RSA_PKCS, key)), "CKR_MECHANISM_INVALID");
    assert_eq!(code(init(CKM_ECDSA, 99)), "CKR_KEY_HANDLE_INVALID");
    let public = Object::Public.handle(1);
    assert_eq!(
        code(init(CKM_ECDSA, public)),
        "CKR_KEY_FUNCTION_NOT_PERMITTED"
    );
    let sign = |data, room| token.sign(session, data, room);
    assert_eq!(
        code(sign(DIGEST, Some(64))),
        "CKR_OPERATION_NOT_INITIALIZED"
    );
    init(CKM_ECDSA, key).unwrap();
    assert_eq!(code(init(CKM_ECDSA, key)), "CKR_OPERATION_ACTIVE");
    assert_eq!(sign(DIGEST, None), Ok(Signed::Length));
    assert_eq!(sign(DIGEST, Some(63)), Ok(Signed::Length));
    assert!(matches!(sign(DIGEST, Some(64)), Ok(Signed::Signature(_))));
    init(CKM_ECDSA, key).unwrap();
    assert_eq!(code(sign(&[0; 31], Some(64))), "CKR_DATA_LEN_RANGE");
    init(CKM_ECDSA, key).expect("the operation has ended");
}

#[test]
fn what_is_lost_is_refused() {
    let token = token("");
    let (session, key) = logged_in(&token);
    token.lose_handles();
    let init = || token.sign_init(session, CKM_ECDSA, key);
    assert_eq!(code(init()), "CKR_KEY_HANDLE_INVALID");
    assert_eq!(
        code(token.object(session, key)),
        "CKR_OBJECT_HANDLE_INVALID"
    );
    token.log_out();
    assert_eq!(code(init()), "CKR_USER_NOT_LOGGED_IN");
    token.login(session, CKU_USER, b"1234").unwrap();
    token.lose_sessions();
    assert_eq!(code(init()), "CKR_SESSION_HANDLE_INVALID");
    let session = token.sessions().open(false).unwrap();
    let init = token.sign_init(session, CKM_ECDSA, Object::Private.handle(2));
    assert_eq!(code(init), "CKR_USER_NOT_LOGGED_IN");
}

#[test]
fn the_login_is_everybodys_and_ends_with_the_last_session() {
    let token = token("");
    let [first, second] = [(); 2].map(|()| token.sessions().open(false).unwrap());
    assert_eq!(
        code(token.login(first, CKU_SO, b"1234")),
        "CKR_USER_TYPE_INVALID"
    );
    assert_eq!(
        code(token.login(first, CKU_USER, b"123")),
        "CKR_PIN_INCORRECT"
    );
    token.login(first, CKU_USER, b"1234").unwrap();
    assert_eq!(
        code(token.login(second, CKU_USER, b"1234")),
        "CKR_USER_ALREADY_LOGGED_IN"
    );
    token.close_session(first).unwrap();
    assert_eq!(
        token.session_info(second).unwrap().state,
        CKS_RO_USER_FUNCTIONS
    );
    token.close_session(second).unwrap();
    let third = token.sessions().open(true).unwrap();
    assert_eq!(
        token.session_info(third).unwrap().state,
        CKS_RW_PUBLIC_SESSION
    );
}

#[test]
fn the_private_key_shows_after_the_login() {
    let token = token("");
    let session = token.sessions().open(false).unwrap();
    let count = || {
        token.find_init(session, &Vec::new()).unwrap();
        let found = token.find(session, 10).unwrap().len();
        token.find_final(session).unwrap();
        found
    };
    assert_eq!(count(), 1);
    token.login(session, CKU_USER, b"1234").unwrap();
    assert_eq!(count(), 2);
    assert_eq!(
        code(token.find(session, 1)),
        "CKR_OPERATION_NOT_INITIALIZED"
    );
}

#[test]
fn another_key_stands_under_the_same_label_and_id() {
    let token = token("");
    let ask =
        || [CKA_LABEL, CKA_ID, CKA_EC_POINT].map(|wanted| token.attribute(Object::Public, wanted));
    let right = ask();
    token.choose_key(KeyChoice::Wrong);
    let wrong = ask();
    assert_eq!(right[..2], wrong[..2]);
    assert_ne!(right[2], wrong[2]);
    token.choose_key(KeyChoice::Right);
    assert_eq!(ask(), right);
    let from_the_start = self::token("wrong_key_from_s = 0");
    assert!(
        from_the_start
            .attribute(Object::Public, CKA_EC_POINT)
            .is_ok()
    );
}

#[test]
fn a_key_is_made_once_under_its_label() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    let start = || {
        token(&format!(
            "make_key = false\nkey_file = '{}'",
            file.display()
        ))
    };
    let token = start();
    let session = token.sessions().open(true).unwrap();
    let public: Template = vec![(CKA_EC_PARAMS, P256_PARAMS.to_vec())];
    let private = |label: &[u8]| vec![(CKA_LABEL, label.to_vec()), (CKA_ID, vec![5, 6])];
    let make = |session, label: &[u8]| {
        token.generate(session, CKM_EC_KEY_PAIR_GEN, &public, &private(label))
    };
    assert_eq!(code(make(session, b"k")), "CKR_USER_NOT_LOGGED_IN");
    token.login(session, CKU_USER, b"1234").unwrap();
    let reading = token.sessions().open(false).unwrap();
    assert_eq!(code(make(reading, b"k")), "CKR_SESSION_READ_ONLY");
    assert_eq!(code(make(session, b"other")), "CKR_TEMPLATE_INCONSISTENT");
    make(session, b"k").unwrap();
    assert_eq!(code(make(session, b"k")), "CKR_DEVICE_MEMORY");
    let ask = |token: &Token| {
        [CKA_ID, CKA_EC_POINT].map(|wanted| token.attribute(Object::Public, wanted).unwrap())
    };
    assert_eq!(ask(&token)[0], [5, 6]);
    assert_eq!(ask(&token), ask(&start()), "a restart finds it");
}

#[test]
fn the_other_key_may_stand_there_from_the_start_and_be_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let start = |key: &str| {
        token(&format!(
            "key = '{key}'\nkey_file = '{}'\nwrong_key_file = '{}'\nkey_id = 'abcd'",
            file("right"),
            file("wrong")
        ))
    };
    let told = |key: &str| {
        let token = start(key);
        let ask = |wanted| token.attribute(Object::Public, wanted).unwrap();
        [CKA_LABEL, CKA_ID, CKA_EC_POINT].map(ask)
    };
    let [right, wrong] = ["right", "wrong"].map(told);
    assert_eq!(right[..2], wrong[..2]);
    assert_ne!(right[2], wrong[2]);
    assert_eq!(told("wrong"), wrong);
    assert_eq!(told("right"), right);
}
