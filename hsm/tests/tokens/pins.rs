//! A refused PIN is sent once, whatever is started again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use birthmark_hsm::{
    DestroyError, ErrorClass, GenerateError, KeyAlgorithm, Mark, OpenError, PinError, PoolOptions,
    SignError, TokenState, destroy_key_pair, generate_key_pair, generate_reported_key_pair,
    report_key,
};

use crate::world::{World, assert_adds_up, errors, sign_ok, wait_for, wait_for_state};
use crate::wrong_signatures::{ALL_WRONG, Caller};

const COUNTED: &str = "state_file = 'state-a'";

pub(crate) fn remembering(world: &World) -> PoolOptions {
    PoolOptions {
        state_directory: Some(world.directory.path().to_owned()),
        ..world.options()
    }
}

fn marks(world: &World) -> Vec<PathBuf> {
    fs::read_dir(world.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("pin-refused"))
        .collect()
}

#[test]
fn a_refused_pin_is_sent_once_over_restarts_until_a_person_clears_the_mark() {
    let world = World::new([("a", COUNTED)]);
    let right = fs::read(world.file("a.pin")).unwrap();
    fs::write(world.file("a.pin"), "wrong").unwrap();
    let error = world.try_open(remembering(&world)).unwrap_err();
    let OpenError::Pin(PinError::Refused {
        mark: Mark::Left(mark),
        ..
    }) = &error
    else {
        panic!("{error}")
    };
    assert_eq!(error.class(), Some(ErrorClass::Pin));
    assert!(error.to_string().contains(&mark.display().to_string()));
    let text = fs::read_to_string(mark).unwrap();
    assert!(text.contains("CKR_PIN_INCORRECT") && text.contains("'a'"));
    assert!(!text.contains("wrong"), "no PIN in it: {text}");

    // However often it is started, and though the PIN is right by now.
    fs::write(world.file("a.pin"), &right).unwrap();
    for _ in 0..5 {
        let error = world.try_open(remembering(&world)).unwrap_err();
        let before = matches!(error, OpenError::Pin(PinError::RefusedBefore { .. }));
        assert!(before, "{error}");
        assert_eq!(error.class(), Some(ErrorClass::Pin));
        let told = error.to_string();
        assert!(told.contains("then remove") && told.contains(&mark.display().to_string()));
    }
    assert_eq!(world.report(0).logins, 1);
    assert_eq!(world.report(0).memory.wrong_pins, 1);

    fs::remove_file(mark).unwrap();
    let pool = world.try_open(remembering(&world)).unwrap();
    sign_ok(&pool, 20);
    assert!(marks(&world).is_empty());
}

#[test]
fn a_pin_that_is_refused_in_between_is_remembered_too() {
    let world = World::new([("a", COUNTED), ("b", "")]);
    let pool = world.try_open(remembering(&world)).unwrap();
    sign_ok(&pool, 20);
    world.fail(0, "C_Login", "every = 1", "CKR_PIN_LOCKED");
    world.command(0, "lose-login");
    wait_for(&pool, "the PIN is refused", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::PinRefused
    });
    assert_eq!(world.report(0).faults("CKR_PIN_LOCKED"), 1);
    assert_eq!(marks(&world).len(), 1);
    world.command(0, "clear-faults");
    sign_ok(&pool, 100);
    pool.close().unwrap();
    // The next start goes on without it, and says so.
    let pool = world.try_open(remembering(&world)).unwrap();
    assert_eq!(pool.tokens()[0].state, TokenState::PinRefused);
    assert!(pool.tokens()[0].why.contains("CKR_PIN_LOCKED"));
    sign_ok(&pool, 50);
    assert_eq!(world.report(0).logins, 1, "the first start's");
}

#[test]
fn a_pin_that_a_returning_token_refuses_is_sent_once() {
    let world = World::new([("a", COUNTED)]);
    let pool = world.try_open(remembering(&world)).unwrap();
    sign_ok(&pool, 20);
    fs::write(world.file("a.pin"), "wrong").unwrap();
    world.command(0, "remove");
    world.command(
        0,
        "fault = { function = 'C_Login', every = 1, code = 'CKR_PIN_EXPIRED' }",
    );
    wait_for(&pool, "it is down or back", || {
        pool.queue_len() == 0 && world.report(0).sessions_open == 0
    });
    world.command(0, "return");
    // Jobs are answered at once when nothing can mend it.
    for error in errors(&pool, 10) {
        assert!(matches!(&error, SignError::PinRefused { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Pin);
        assert!(error.to_string().contains("then remove"), "{error}");
    }
    wait_for_state(&pool, 0, TokenState::PinRefused);
    assert_eq!(world.report(0).faults("CKR_PIN_EXPIRED"), 1);
    assert_eq!(marks(&world).len(), 1);
}

#[test]
fn a_start_goes_on_without_a_token_that_refuses_its_pin() {
    let world = World::new([("a", COUNTED), ("b", "")]);
    fs::write(world.file("a.pin"), "wrong").unwrap();
    for _ in 0..3 {
        let pool = world.try_open(remembering(&world)).unwrap();
        assert_eq!(pool.tokens()[0].state, TokenState::PinRefused);
        sign_ok(&pool, 20);
        pool.close().unwrap();
    }
    assert_eq!(world.report(0).memory.wrong_pins, 1);
    let lines = world.events.lines();
    let told = |line: &String| line.contains("PIN refused") && line.contains("'a'");
    assert_eq!(lines.iter().filter(|line| told(line)).count(), 3);
}

#[test]
fn a_mark_that_cannot_be_written_is_told() {
    let world = World::new([("a", COUNTED)]);
    fs::write(world.file("a.pin"), "wrong").unwrap();
    let mut options = world.options();
    options.state_directory = Some(world.file("not there"));
    let error = world.try_open(options).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("could not be written down"), "{told}");
    assert_eq!(world.report(0).calls("C_Login"), 0, "nor was the PIN sent");
}

/// The token is left out like one that is down, and taken once a person saw to it.
#[test]
fn a_mark_that_cannot_be_written_takes_out_its_token_alone() {
    let world = World::new([("a", COUNTED), ("b", "")]);
    // Nobody can write a directory, not even root.
    let mark = world.file("pin-login.a.0001");
    fs::create_dir(&mark).unwrap();
    let pool = world.try_open(remembering(&world)).unwrap();
    sign_ok(&pool, 20);
    wait_for(&pool, "it is probed", || {
        world.report(0).calls("C_OpenSession") > 3
    });
    let told = &pool.tokens()[0];
    assert_eq!(told.state, TokenState::Down, "{told:#?}");
    assert!(
        told.why.contains("let the user that runs this write there"),
        "{told:#?}"
    );
    assert_eq!(world.report(0).calls("C_Login"), 0, "no PIN was sent");
    fs::remove_dir(&mark).unwrap();
    wait_for_state(&pool, 0, TokenState::Up);
    assert_eq!(world.report(0).logins, 1);
    sign_ok(&pool, 20);
}

/// A token may say so while it signs.
#[test]
fn a_pin_that_locks_while_the_token_signs_stops_it() {
    let world = World::new([("a", COUNTED), ("b", "")]);
    let pool = world.try_open(remembering(&world)).unwrap();
    world.fail(0, "C_SignInit", "every = 1", "CKR_PIN_LOCKED");
    wait_for(&pool, "it is told", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::PinRefused
    });
    assert_eq!(marks(&world).len(), 1);
    assert_eq!(world.report(0).logins, 1, "the start's");
    assert_adds_up(&pool.tokens());
}

/// To remember a refusal waits for the login, and the login for a call that hangs. The job that met
/// the refusal at its last attempt is given up with it, and not held in hand for ever.
#[test]
fn a_refusal_that_waits_behind_a_hang_holds_no_job() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.call_limit = Duration::from_secs(2);
    options.wait_limit = Duration::ZERO;
    let pool = world.try_open(options).unwrap();
    let caller = Caller::new(&pool);
    pool.submit(caller.job(0));
    let right = caller.answer().1.unwrap();
    // A job with one of its seven attempts left.
    world.command(0, ALL_WRONG);
    pool.submit(caller.job(1));
    for _ in 1..6 {
        let wrong = caller.answer().1.unwrap();
        pool.accept(&right);
        pool.reject(wrong, caller.job(1)).unwrap();
    }
    let wrong = caller.answer().1.unwrap();
    world.command(0, "clear-faults");
    // One session looks for the key, and hangs with the anchor in hand.
    world.fail(0, "C_SignInit", "at = [1]", "CKR_KEY_HANDLE_INVALID");
    world.command(
        0,
        "fault = { function = 'C_FindObjectsInit', every = 1, hang = true }",
    );
    pool.submit(caller.job(2));
    wait_for(&pool, "a look-up hangs", || world.report(0).hung == 1);
    world.fail(0, "C_SignInit", "every = 1", "CKR_PIN_INCORRECT");
    pool.accept(&right);
    pool.reject(wrong, caller.job(1)).unwrap();
    let mut answered = [caller.answer(), caller.answer()];
    answered.sort_by_key(|(ticket, _)| *ticket);
    for (expected, (ticket, outcome)) in (1..).zip(answered) {
        assert_eq!(ticket, expected);
        outcome.unwrap_err();
    }
    assert_eq!(world.report(0).hung, 1, "it hangs all the time");
    world.command(0, "clear-faults");
    world.command(0, "release-hangs");
    wait_for(&pool, "nothing is inside", || pool.tokens()[0].inside == 0);
    assert_adds_up(&pool.tokens());
}

/// Codes that do not tell whether the token judged the PIN.
const NOT_TOLD: [&str; 8] = [
    "CKR_GENERAL_ERROR",
    "CKR_FUNCTION_FAILED",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_REMOVED",
    "CKR_SESSION_CLOSED",
    "CKR_HOST_MEMORY",
    "CKR_FUNCTION_CANCELED",
    "CKR 0x80000001",
];

/// Logins fail so. Codes without a name are numbers.
fn fail_logins(world: &World, when: &str, code: &str) {
    let code = match code.strip_prefix("CKR ") {
        Some(number) => number.to_owned(),
        None => format!("'{code}'"),
    };
    let fault = format!("fault = {{ function = 'C_Login', {when}, code = {code} }}");
    world.command(0, &fault);
}

#[test]
fn a_login_with_an_answer_that_does_not_tell_is_not_repeated_by_later_starts() {
    for told in NOT_TOLD {
        let world = World::new([("a", COUNTED)]);
        fail_logins(&world, "times = 1", told);
        let error = world.try_open(remembering(&world)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(told) && text.contains("does not tell"),
            "{text}"
        );
        assert_eq!(error.class(), Some(ErrorClass::Pin), "{told}");
        let [mark] = &marks(&world)[..] else {
            panic!("no mark for {told}")
        };
        let text = fs::read_to_string(mark).unwrap();
        assert!(text.contains("may have refused"), "{text}");
        for _ in 0..3 {
            let error = world.try_open(remembering(&world)).unwrap_err();
            let before = matches!(error, OpenError::Pin(PinError::RefusedBefore { .. }));
            assert!(before, "{told}: {error}");
        }
        assert_eq!(world.report(0).calls("C_Login"), 1, "{told}");
        fs::remove_file(mark).unwrap();
        sign_ok(&world.try_open(remembering(&world)).unwrap(), 20);
        assert_eq!(world.report(0).calls("C_Login"), 2, "{told}");
    }
}

#[test]
fn a_renewed_login_with_an_answer_that_does_not_tell_is_not_repeated_by_probes() {
    for told in NOT_TOLD {
        let world = World::new([("a", COUNTED), ("b", "")]);
        let pool = world.try_open(remembering(&world)).unwrap();
        sign_ok(&pool, 20);
        fail_logins(&world, "every = 1", told);
        world.command(0, "lose-login");
        wait_for(&pool, "the PIN is held back", || {
            sign_ok(&pool, 20);
            pool.tokens()[0].state == TokenState::PinRefused
        });
        sign_ok(&pool, 50);
        pool.close().unwrap();
        assert_eq!(
            world.report(0).calls("C_Login"),
            2,
            "{told}: the start's and one"
        );
        assert_eq!(marks(&world).len(), 1, "{told}");
    }
}

#[test]
fn a_login_that_did_not_come_to_the_pin_is_tried_again() {
    for told in [
        "CKR_TOKEN_NOT_PRESENT",
        "CKR_TOKEN_NOT_RECOGNIZED",
        "CKR_SESSION_HANDLE_INVALID",
        "CKR_ARGUMENTS_BAD",
    ] {
        let world = World::new([("a", COUNTED)]);
        fail_logins(&world, "times = 1", told);
        let error = world.try_open(remembering(&world)).unwrap_err();
        assert!(matches!(error, OpenError::Call { .. }), "{told}: {error}");
        assert!(marks(&world).is_empty(), "{told}");
        sign_ok(&world.try_open(remembering(&world)).unwrap(), 20);
    }
}

/// Whatever the process does next, and though nothing is kept in files.
#[test]
fn a_refused_pin_is_remembered_by_the_process_where_no_file_remembers_it() {
    let world = World::new([("a", COUNTED)]);
    world.open().close().unwrap();
    fs::write(world.file("a.pin"), "wrong").unwrap();
    let error = world.try_open(world.options()).unwrap_err();
    let refused = matches!(
        error,
        OpenError::Pin(PinError::Refused {
            mark: Mark::None,
            ..
        })
    );
    assert!(refused, "{error}");
    let uri = &world.uris()[0];
    let key = birthmark_hsm::PublicKey::Ed25519([0; 32]);
    let mut errors = vec![
        world.try_open(world.options()).unwrap_err(),
        world.try_open(remembering(&world)).unwrap_err(),
        report_key(uri).unwrap_err(),
    ];
    for error in [
        generate_key_pair(uri, KeyAlgorithm::EcP256).unwrap_err(),
        generate_reported_key_pair(uri, KeyAlgorithm::EcP256).unwrap_err(),
    ] {
        let GenerateError::Open(error) = error else {
            panic!("{error}")
        };
        errors.push(error);
    }
    let DestroyError::Open(error) = destroy_key_pair(uri, &key).unwrap_err() else {
        panic!("it was opened")
    };
    errors.push(error);
    for error in errors {
        let here = matches!(error, OpenError::Pin(PinError::RefusedHere { .. }));
        assert!(here, "{error}");
        assert!(error.to_string().contains("restart this process"));
        assert_eq!(error.class(), Some(ErrorClass::Pin));
    }
    assert_eq!(world.report(0).calls("C_Login"), 2, "one right, one wrong");
}

/// What is made and read beside a pool keeps marks where the URI says.
#[test]
fn every_use_of_a_uri_keeps_its_marks() {
    let world = World::new([("a", COUNTED)]);
    let uri = world.uris()[0]
        .clone()
        .with_state_directory(world.directory.path());
    let key = birthmark_hsm::PublicKey::Ed25519([0; 32]);
    fs::write(world.file("a.pin"), "wrong").unwrap();
    let uses: [&dyn Fn() -> String; 5] = [
        &|| report_key(&uri).unwrap_err().to_string(),
        &|| {
            generate_key_pair(&uri, KeyAlgorithm::EcP256)
                .unwrap_err()
                .to_string()
        },
        &|| {
            let made = generate_reported_key_pair(&uri, KeyAlgorithm::EcP256);
            made.unwrap_err().to_string()
        },
        &|| destroy_key_pair(&uri, &key).unwrap_err().to_string(),
        &|| {
            let pool = birthmark_hsm::SigningPool::pkcs11(&uri, world.options().tokens);
            pool.unwrap_err().to_string()
        },
    ];
    for (sent, first) in uses.iter().enumerate() {
        let told = first();
        let [mark] = &marks(&world)[..] else {
            panic!("no mark: {told}")
        };
        assert!(told.contains(&mark.display().to_string()), "{told}");
        for other in uses {
            let told = other();
            assert!(told.contains("refused the PIN before"), "{told}");
        }
        assert_eq!(world.report(0).calls("C_Login"), sent as u64 + 1);
        fs::remove_file(mark).unwrap();
    }
}
