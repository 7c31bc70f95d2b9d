//! A real token (SoftHSM): keys are made on it, found on it and sign on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;

use birthmark_hsm::{
    ErrorClass, GenerateError, InitializeError, KeyAlgorithm, KeyError, Mark, ModuleError,
    OpenError, PinError, Pkcs11Options, Pkcs11Uri, Signature, SigningPool, TokenError,
    generate_key_pair, initialize_token,
};

mod test_token;
use test_token::{TestToken, messages, module, sign_all, verifies};

fn options(sessions: usize) -> Pkcs11Options {
    Pkcs11Options {
        sessions: Some(sessions),
        key_copy: false,
        ..Pkcs11Options::default()
    }
}

fn open_error(uri: &Pkcs11Uri) -> OpenError {
    SigningPool::pkcs11(uri, options(1)).expect_err("nothing to open")
}

#[test]
fn a_pool_describes_itself_without_its_pin() {
    let token = TestToken::create();
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let pool = SigningPool::pkcs11(&token.uri("k"), options(2)).unwrap();
    assert_eq!(
        pool.describe(),
        format!("PKCS#11 token '{}' P-256, 2 sessions", token.label)
    );
    assert!(!format!("{pool:?}").contains(&token.pin));
}

#[test]
fn raw_signers_sign_beside_the_pool_and_outlive_it() {
    let token = TestToken::create();
    let key = generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    for key_copy in [false, true] {
        let options = Pkcs11Options {
            sessions: Some(1),
            key_copy,
            ..Pkcs11Options::default()
        };
        let pool = SigningPool::pkcs11(&token.uri("k"), options).unwrap();
        let input = pool.input_for(b"m");
        let signers = pool.raw_signers(2).unwrap();
        assert!(matches!(
            pool.raw_signers(0),
            Err(OpenError::Sessions { asked: 0, .. })
        ));
        pool.close().unwrap();
        thread::scope(|scope| {
            for mut signer in signers {
                let (input, key) = (&input, &key);
                scope.spawn(move || {
                    let mut signature = Signature::empty();
                    for _ in 0..200 {
                        signer.sign(input, &mut signature).unwrap();
                        assert!(verifies(key, b"m", &signature));
                    }
                });
            }
        });
    }
}

#[test]
fn dropping_a_pool_answers_what_was_submitted() {
    let token = TestToken::create();
    let key = generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    struct Send(std::sync::Mutex<std::sync::mpsc::Sender<(u64, Signature)>>);
    impl birthmark_hsm::SignCompletion for Send {
        fn signed(&self, ticket: u64, outcome: Result<Signature, birthmark_hsm::SignError>) {
            self.0
                .lock()
                .unwrap()
                .send((ticket, outcome.unwrap()))
                .unwrap();
        }
    }
    let pool = SigningPool::pkcs11(&token.uri("k"), options(2)).unwrap();
    let completion: Arc<dyn birthmark_hsm::SignCompletion> =
        Arc::new(Send(std::sync::Mutex::new(sender)));
    for ticket in 0..500 {
        let input = pool.input_for(b"m");
        pool.submit(birthmark_hsm::SignJob {
            ticket,
            input,
            completion: Arc::clone(&completion),
        });
    }
    drop((pool, completion));
    let mut tickets: Vec<u64> = receiver
        .iter()
        .map(|(ticket, signature)| {
            assert!(verifies(&key, b"m", &signature));
            ticket
        })
        .collect();
    tickets.sort_unstable();
    assert_eq!(tickets, (0..500).collect::<Vec<_>>());
}

#[test]
fn a_completion_that_panics_harms_no_other_job() {
    struct Panic;
    impl birthmark_hsm::SignCompletion for Panic {
        fn signed(&self, _: u64, _: Result<Signature, birthmark_hsm::SignError>) {
            panic!("on purpose");
        }
    }
    let token = TestToken::create();
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let pool = SigningPool::pkcs11(&token.uri("k"), options(1)).unwrap();
    let (input, completion) = (pool.input_for(b"m"), Arc::new(Panic));
    pool.submit(birthmark_hsm::SignJob {
        ticket: 1,
        input,
        completion,
    });
    assert!(sign_all(&pool, &messages(10)).iter().all(Result::is_ok));
    assert_eq!(pool.metrics().completions_panicked, 1);
    pool.close().unwrap();
}

#[test]
fn many_pools_open_at_once() {
    let token = TestToken::create();
    let key = generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for number in 0..8 {
            let (token, key, barrier) = (&token, &key, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..5 {
                    let options = Pkcs11Options {
                        sessions: Some(2),
                        key_copy: number % 2 == 0,
                        ..Pkcs11Options::default()
                    };
                    let pool = SigningPool::pkcs11(&token.uri("k"), options).unwrap();
                    let messages = messages(20);
                    for (message, outcome) in messages.iter().zip(sign_all(&pool, &messages)) {
                        assert!(verifies(key, message, &outcome.unwrap()));
                    }
                    pool.close().unwrap();
                }
            });
        }
    });
}

#[test]
fn a_wrong_pin_is_refused_and_the_right_one_works_once_the_mark_is_removed() {
    let token = TestToken::create();
    let marks = tempfile::tempdir().unwrap();
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let error = open_error(&token.wrong_pin_uri("k").with_state_directory(marks.path()));
    assert!(
        matches!(&error, OpenError::Pin(PinError::Refused { .. })),
        "{error}"
    );
    assert_eq!(error.class(), Some(ErrorClass::Pin));
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(
            shown.contains("CKR_PIN_INCORRECT") && shown.contains(&token.label),
            "{shown}"
        );
        assert!(!shown.contains("not the PIN"), "{shown}");
    }
    let OpenError::Pin(PinError::Refused {
        mark: Mark::Left(mark),
        ..
    }) = error
    else {
        panic!("no mark: {error}")
    };
    fs::remove_file(mark).unwrap();
    SigningPool::pkcs11(&token.uri("k"), options(1))
        .unwrap()
        .close()
        .unwrap();
}

#[test]
fn pin_files_that_cannot_serve_are_refused() {
    let token = TestToken::create();
    let uri = |file: &Path| Pkcs11Uri::new(&token.module, &token.label, "k", Some(file));
    let error = open_error(&uri(&token.directory.path().join("missing")));
    assert!(
        matches!(error, OpenError::Pin(PinError::Unreadable { .. })),
        "{error}"
    );
    for content in ["", "\n", "1\n2\n"] {
        let file = token.directory.path().join("odd");
        fs::write(&file, content).unwrap();
        let error = open_error(&uri(&file));
        assert!(
            matches!(error, OpenError::Pin(PinError::Malformed { .. })),
            "{error}"
        );
    }
}

/// The environment cannot be changed safely while threads run, so this test runs itself again.
#[test]
fn the_pin_comes_from_the_environment_where_the_uri_names_no_file() {
    const ROLE: &str = "BIRTHMARK_TEST_URI";
    if let Ok(uri) = std::env::var(ROLE) {
        let opened = SigningPool::pkcs11(&uri.parse().unwrap(), options(1));
        if std::env::var_os("BIRTHMARK_PIN").is_some() {
            opened.unwrap().close().unwrap();
        } else {
            let error = opened.unwrap_err();
            assert!(
                matches!(error, OpenError::Pin(PinError::Missing { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("BIRTHMARK_PIN"), "{error}");
        }
        return;
    }
    let token = TestToken::create();
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let uri = Pkcs11Uri::new(&token.module, &token.label, "k", None);
    for pin in [None, Some(&token.pin)] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args([
                "--exact",
                "the_pin_comes_from_the_environment_where_the_uri_names_no_file",
            ])
            .env(ROLE, uri.as_written())
            .env_remove("BIRTHMARK_PIN");
        if let Some(pin) = pin {
            again.env("BIRTHMARK_PIN", pin);
        }
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}

/// The token is among those that an error names. Its text shows eight at most, and other tests make theirs
/// beside this one.
fn assert_names(names: &[String], token: &TestToken) {
    assert!(
        names.iter().any(|name| name.contains(&token.label)),
        "{} is not in {names:?}",
        token.label
    );
}

#[test]
fn an_unknown_token_is_told_with_those_that_are_there() {
    let token = TestToken::create();
    let pin = token.directory.path().join("pin");
    let error = open_error(&Pkcs11Uri::new(
        &token.module,
        "no such token",
        "k",
        Some(&pin),
    ));
    let OpenError::Token(TokenError::Unknown { seen, .. }) = &error else {
        panic!("{error}");
    };
    assert_names(seen, &token);
    let shown = error.to_string();
    assert!(
        shown.contains("no such token") && shown.contains(&seen[0]),
        "{shown}"
    );

    // Right label, wrong serial number: no match either.
    let uri = format!(
        "{};serial=0000",
        token.uri("k").as_written().split('?').next().unwrap()
    );
    let query = token
        .uri("k")
        .as_written()
        .split('?')
        .nth(1)
        .unwrap()
        .to_owned();
    let error = open_error(&format!("{uri}?{query}").parse().unwrap());
    assert!(
        matches!(&error, OpenError::Token(TokenError::Unknown { .. })),
        "{error}"
    );
}

#[test]
fn a_uri_that_fits_several_tokens_is_refused() {
    let (first, second) = (TestToken::create(), TestToken::create());
    let uri = format!(
        "pkcs11:object=k?{}",
        first.uri("k").as_written().split('?').nth(1).unwrap()
    );
    let error = open_error(&uri.parse().unwrap());
    let OpenError::Token(TokenError::Ambiguous { fitting, .. }) = &error else {
        panic!("{error}");
    };
    assert_names(fitting, &first);
    assert_names(fitting, &second);
    assert!(error.to_string().contains(&fitting[0]), "{error}");
}

#[test]
fn an_unknown_key_is_told_with_those_that_are_there() {
    let token = TestToken::create();
    let error = open_error(&token.uri("k"));
    assert!(
        matches!(&error, OpenError::Key(KeyError::Unknown { .. })),
        "{error}"
    );
    assert!(error.to_string().ends_with("it holds none"), "{error}");
    generate_key_pair(&token.uri("first"), KeyAlgorithm::EcP256).unwrap();
    generate_key_pair(&token.uri("second"), KeyAlgorithm::EcP256).unwrap();
    let shown = open_error(&token.uri("third")).to_string();
    for part in ["object='third'", "'first'", "'second'"] {
        assert!(shown.contains(part), "{shown}");
    }
    // No key named, and two that fit.
    let any = token.uri("k").as_written().replace(";object=k", "");
    let error = open_error(&any.parse().unwrap());
    assert!(
        matches!(&error, OpenError::Key(KeyError::Ambiguous { .. })),
        "{error}"
    );
}

#[test]
fn a_key_is_found_by_its_id() {
    let token = TestToken::create();
    let with_id = |object: &str, id: &str| -> Pkcs11Uri {
        let uri = token.uri(object);
        let written = uri.as_written().replace(&format!("object={object}"), id);
        written.parse().unwrap()
    };
    let first = generate_key_pair(
        &with_id("k", "object=first;id=%01%02"),
        KeyAlgorithm::EcP256,
    )
    .unwrap();
    generate_key_pair(
        &with_id("k", "object=second;id=%01%03"),
        KeyAlgorithm::EcP256,
    )
    .unwrap();
    let pool = SigningPool::pkcs11(&with_id("k", "id=%01%02"), options(1)).unwrap();
    assert_eq!(*pool.public_key(), first);
    let error = open_error(&with_id("k", "object=second;id=%01%02"));
    assert!(
        matches!(&error, OpenError::Key(KeyError::Unknown { .. })),
        "{error}"
    );
}

#[test]
fn generating_refuses_what_is_taken() {
    let token = TestToken::create();
    let first = generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let error = generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP384).unwrap_err();
    assert!(matches!(&error, GenerateError::Exists { .. }), "{error}");
    assert!(error.to_string().contains("'k'"), "{error}");

    let with_id = |object: &str| -> Pkcs11Uri {
        let named = format!("object={object};id=%0a");
        token
            .uri("k")
            .as_written()
            .replace("object=k", &named)
            .parse()
            .unwrap()
    };
    generate_key_pair(&with_id("a"), KeyAlgorithm::EcP256).unwrap();
    let error = generate_key_pair(&with_id("b"), KeyAlgorithm::EcP256).unwrap_err();
    assert!(error.to_string().contains("the id 0a"), "{error}");

    let pool = SigningPool::pkcs11(&token.uri("k"), options(1)).unwrap();
    assert_eq!(*pool.public_key(), first);

    let unnamed = token.uri("k").as_written().replace(";object=k", "");
    let error = generate_key_pair(&unnamed.parse().unwrap(), KeyAlgorithm::EcP256).unwrap_err();
    assert!(matches!(error, GenerateError::NoLabel), "{error}");
}

#[test]
fn modules_that_are_none_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("module.so");
    fs::write(&text, "not a module").unwrap();
    let uri = |path: &Path| Pkcs11Uri::new(path, "t", "k", None);

    let error = open_error(&uri(&text));
    assert!(
        matches!(&error, OpenError::Module(ModuleError::NotAModule { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("module.so"), "{error}");

    let error = open_error(&uri(&directory.path().join("missing.so")));
    assert!(
        matches!(&error, OpenError::Module(ModuleError::Missing { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("missing.so") && error.to_string().contains("install"));

    // A library, but no PKCS#11 module.
    let library = [
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/aarch64-linux-gnu/libc.so.6",
        "/lib64/libc.so.6",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("a C library");
    let error = open_error(&uri(&library));
    assert!(
        matches!(&error, OpenError::Module(ModuleError::NotAModule { .. })),
        "{error}"
    );

    let error = open_error(&"pkcs11:token=t;object=k".parse().unwrap());
    assert!(
        matches!(&error, OpenError::Module(ModuleError::NotNamed)),
        "{error}"
    );
    let error = open_error(&"pkcs11:token=t?module-name=no-such-module".parse().unwrap());
    assert!(
        matches!(&error, OpenError::Module(ModuleError::NameNotFound { .. })),
        "{error}"
    );
}

#[test]
fn a_symbolic_link_is_the_same_module() {
    let token = TestToken::create();
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    let link = token.directory.path().join("another name.so");
    symlink(&token.module, &link).unwrap();
    let pin = token.directory.path().join("pin");
    let first = SigningPool::pkcs11(&token.uri("k"), options(1)).unwrap();
    let linked = Pkcs11Uri::new(&link, &token.label, "k", Some(&pin));
    let second = SigningPool::pkcs11(&linked, options(1)).unwrap();
    first.close().unwrap();
    assert!(sign_all(&second, &messages(10)).iter().all(Result::is_ok));
    second.close().unwrap();
}

#[test]
fn numbers_of_sessions_out_of_range_are_refused() {
    let token = TestToken::create();
    for asked in [0, birthmark_hsm::SESSIONS_MAX + 1] {
        let error = SigningPool::pkcs11(&token.uri("k"), options(asked)).unwrap_err();
        assert!(matches!(error, OpenError::Sessions { .. }), "{error}");
    }
}

#[test]
fn a_token_is_initialized_once() {
    let token = TestToken::create();
    let again = initialize_token(&module(), &token.label, "12345678", "12345678").unwrap_err();
    assert!(matches!(&again, InitializeError::Exists { .. }), "{again}");
    generate_key_pair(&token.uri("k"), KeyAlgorithm::EcP256).unwrap();
    for label in ["", "a label of more than 32 bytes, one too many"] {
        let error = initialize_token(&module(), label, "12345678", "12345678").unwrap_err();
        assert!(matches!(&error, InitializeError::Label { .. }), "{error}");
    }
}
