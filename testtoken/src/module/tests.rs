//! The module without its C side: what becomes of a call on its way.

use std::thread;

use super::*;

/// A module whose configuration lies in a directory of its own, initialized.
struct Loaded {
    module: Module,
    directory: tempfile::TempDir,
}

impl Loaded {
    fn create(more: &str) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        let settings = format!("mode = 'software'\npin = '1234'\n{more}");
        std::fs::write(directory.path().join("m.so.toml"), settings).unwrap();
        let loaded = Loaded {
            module: Module::default(),
            directory,
        };
        loaded.initialize().unwrap();
        loaded
    }

    fn initialize(&self) -> Outcome<()> {
        let path = self.directory.path().join("m.so");
        self.module.initialize(Some(&path), |_| Ok(()))
    }

    fn finalize(&self) -> Outcome<()> {
        self.module.finalize(|_| Ok(()))
    }

    fn open(&self) -> Outcome<CK_SESSION_HANDLE> {
        let mut opened = 0;
        self.module
            .run(Function::C_OpenSession, Target::Token, |call| {
                opened = own(call).sessions().open(false)?;
                call.session_opened();
                Ok(())
            })?;
        Ok(opened)
    }

    fn look(&self, session: CK_SESSION_HANDLE) -> Outcome<()> {
        let target = Target::Session(session);
        self.module.run(Function::C_GetSessionInfo, target, |call| {
            own(call).session_info(session).map(drop)
        })
    }

    fn command(&self, line: &str) {
        self.module.command(line).unwrap();
    }
}

fn own<'a>(call: &'a Call<'_>) -> &'a Token {
    match call.running.backend() {
        Backend::Own(token) => token,
        Backend::Forward(_) => panic!("a token of our own"),
    }
}

const REMOVED: Outcome<()> = Err(Code(CKR_DEVICE_REMOVED));
const GONE: Outcome<()> = Err(Code(CKR_SESSION_HANDLE_INVALID));

#[test]
fn a_token_that_was_away_has_lost_its_sessions_whoever_looked() {
    let loaded = Loaded::create("");
    for looked in [true, false] {
        let session = loaded.open().unwrap();
        loaded.look(session).unwrap();
        loaded.command("remove");
        assert_eq!(loaded.module.report().sessions_open, 0);
        if looked {
            assert_eq!(loaded.look(session), REMOVED);
            assert_eq!(loaded.open(), Err(Code(CKR_TOKEN_NOT_PRESENT)));
        }
        loaded.command("return");
        assert_eq!(loaded.look(session), GONE);
        assert!(loaded.open().is_ok());
    }
}

#[test]
fn a_removal_outlasts_c_finalize() {
    let loaded = Loaded::create("");
    loaded.command("remove");
    loaded.finalize().unwrap();
    assert!(!loaded.module.report().present);
    loaded.initialize().unwrap();
    assert_eq!(loaded.open(), Err(Code(CKR_TOKEN_NOT_PRESENT)));
    loaded.command("return");
    loaded.look(loaded.open().unwrap()).unwrap();
}

/// Runs `meanwhile` while a call hangs, and returns what the call came to.
fn hung(loaded: &Loaded, meanwhile: impl FnOnce()) -> Outcome<()> {
    loaded.command("fault = { function = 'C_GetSessionInfo', at = [1], hang = true }");
    let session = loaded.open().unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| loaded.look(session));
        while loaded.module.report().hung == 0 {
            thread::yield_now();
        }
        meanwhile();
        loaded.command("release-hangs");
        call.join().unwrap()
    })
}

#[test]
fn a_hung_call_finds_what_happened_meanwhile() {
    let loaded = Loaded::create("");
    assert_eq!(hung(&loaded, || {}), Ok(()));
    assert_eq!(hung(&loaded, || loaded.command("remove")), REMOVED);
    loaded.command("return");
    assert_eq!(hung(&loaded, || loaded.command("lose-sessions")), GONE);
    let finalized = hung(&loaded, || loaded.finalize().unwrap());
    assert_eq!(finalized, Err(Code(CKR_CRYPTOKI_NOT_INITIALIZED)));
    assert_eq!(loaded.module.report().hangs, 4);
}

#[test]
fn a_hung_call_is_released_by_the_control_file() {
    let loaded = Loaded::create(
        "control_file = 'control'\n\
         faults = [{ function = 'C_GetSessionInfo', at = [1], hang = true }]",
    );
    let session = loaded.open().unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| loaded.look(session));
        while loaded.module.report().hung == 0 {
            thread::yield_now();
        }
        std::fs::write(loaded.directory.path().join("control"), "release-hangs\n").unwrap();
        assert_eq!(call.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_code_comes_before_the_call_or_after_it() {
    let loaded = Loaded::create("");
    let session = loaded.open().unwrap();
    for (after, made) in [(false, 0), (true, 1)] {
        loaded.command(&format!(
            "fault = {{ function = 'C_GetSessionInfo', at = [1], after = {after}, \
             code = 'CKR_DEVICE_ERROR' }}"
        ));
        let mut calls = 0;
        let target = Target::Session(session);
        let run = loaded.module.run(Function::C_GetSessionInfo, target, |_| {
            calls += 1;
            Ok(())
        });
        assert_eq!((run, calls), (Err(Code(CKR_DEVICE_ERROR)), made));
    }
    // C_Initialize that went well and says it did not: a second one finds out.
    loaded.finalize().unwrap();
    loaded.command(
        "fault = { function = 'C_Initialize', at = [1], after = true, code = 'CKR_HOST_MEMORY' }",
    );
    assert_eq!(loaded.initialize(), Err(Code(CKR_HOST_MEMORY)));
    let again = loaded.initialize();
    assert_eq!(again, Err(Code(CKR_CRYPTOKI_ALREADY_INITIALIZED)));
}

#[test]
fn commanded_settings_outlast_c_initialize_and_configured_faults_start_anew() {
    let loaded = Loaded::create(
        "faults = [{ function = 'C_GetSessionInfo', at = [2], code = 'CKR_DEVICE_ERROR' }]",
    );
    loaded.command("latency = { mean_us = 1 }");
    for _ in 0..2 {
        let session = loaded.open().unwrap();
        let outcomes = [(); 3].map(|()| loaded.look(session));
        assert_eq!(outcomes, [Ok(()), Err(Code(CKR_DEVICE_ERROR)), Ok(())]);
        let sign = loaded
            .module
            .run(Function::C_Sign, Target::Session(session), |_| Ok(()));
        assert_eq!(sign, Ok(()));
        loaded.finalize().unwrap();
        loaded.initialize().unwrap();
    }
    let report = loaded.module.report();
    assert!(report.pace.latency_mean_us >= 1.0, "{report:?}");
    assert_eq!(report.calls("C_Sign"), 2);
}

#[test]
fn without_c_initialize_nothing_is_called() {
    let loaded = Loaded::create("");
    let session = loaded.open().unwrap();
    loaded.finalize().unwrap();
    let refused = Err(Code(CKR_CRYPTOKI_NOT_INITIALIZED));
    assert_eq!(loaded.look(session), refused);
    assert_eq!(loaded.finalize(), refused);
    let error = loaded.module.command("write-report").unwrap_err();
    assert!(error.contains("initialized"), "{error}");
    loaded.initialize().unwrap();
    assert_eq!(loaded.look(session), GONE, "of an earlier time");
}

/// Threads sign while sessions, login, handles and the token itself are taken away.
#[test]
fn counts_hold_while_everything_is_lost_all_the_time() {
    const THREADS: usize = 4;
    const SIGNATURES: usize = 200;
    let loaded = Loaded::create("");
    let find_key = |session| {
        let template = vec![(CKA_CLASS, CKO_PRIVATE_KEY.to_ne_bytes().to_vec())];
        let mut found = None;
        let target = Target::Session(session);
        loaded
            .module
            .run(Function::C_FindObjectsInit, target, |call| {
                own(call).find_init(session, &template)?;
                found = own(call).find(session, 1)?.first().copied();
                own(call).find_final(session)
            })?;
        found.ok_or(Code(CKR_KEY_HANDLE_INVALID))
    };
    let sign = |session: CK_SESSION_HANDLE| {
        let target = Target::Session(session);
        let login = loaded.module.run(Function::C_Login, target, |call| {
            call.login(CKU_USER, || own(call).login(session, CKU_USER, b"1234"))
        });
        if !matches!(login, Ok(()) | Err(Code(CKR_USER_ALREADY_LOGGED_IN))) {
            return login;
        }
        let key = find_key(session)?;
        loaded.module.run(Function::C_SignInit, target, |call| {
            own(call).sign_init(session, CKM_ECDSA, key)
        })?;
        loaded.module.run(Function::C_Sign, target, |call| {
            call.counted_signature(|| own(call).sign(session, &[1; 32], Some(64)).map(drop))
        })
    };
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..SIGNATURES {
                    // A new session each time, until one signs.
                    while loaded.open().and_then(sign).is_err() {}
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while done.load(Ordering::Relaxed) < (THREADS * SIGNATURES) as u64 {
            for line in [
                "lose-sessions",
                "lose-login",
                "lose-handles",
                "remove",
                "return",
            ] {
                loaded.command(line);
                thread::yield_now();
            }
        }
    });
    let report = loaded.module.report();
    assert_eq!(report.signatures, (THREADS * SIGNATURES) as u64);
    assert_eq!(report.logins_refused, 0, "{report:?}");
    loaded.command("lose-sessions");
    assert_eq!(loaded.module.report().sessions_open, 0);
}
