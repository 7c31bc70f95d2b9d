//! PKCS#11 handles that come and go, under valgrind's memcheck: no invalid access, no block that nobody
//! holds any more.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use birthmark_hsm::{Pkcs11Options, PoolOptions, SigningPool, TokenState};
use birthmark_test_token::TestHsm;

mod test_token;
use test_token::{messages, sign_all};

/// Makes the load leave a block behind, to see that it is found.
const LEAK_VARIABLE: &str = "BIRTHMARK_MEMCHECK_LEAK";

/// What valgrind exits with when it found something: no code of the test harness.
const FOUND: i32 = 99;

/// What happens to the handles, between signatures.
const EVENTS: [&str; 12] = [
    "lose-sessions",
    "lose-handles",
    "lose-login",
    "fault = { function = 'C_SignInit', times = 3, sessions = 'lose' }",
    "fault = { function = 'C_SignInit', times = 1, code = 'CKR_OPERATION_ACTIVE' }",
    "fault = { function = 'C_Sign', times = 1, signature = 'short' }",
    "fault = { function = 'C_Sign', times = 1, signature = 'long' }",
    "fault = { function = 'C_OpenSession', times = 2, code = 'CKR_SESSION_COUNT', sessions = 'lose-all' }",
    "fault = { function = 'C_CloseSession', times = 2, code = 'CKR_SESSION_HANDLE_INVALID' }",
    "fault = { function = 'C_FindObjects', times = 1, code = 'CKR_DEVICE_ERROR', handles = 'lose' }",
    "fault = { function = 'C_Sign', times = 1, code = 'CKR_DEVICE_ERROR' }",
    // Finalizes the module and initializes it anew.
    "fault = { function = 'C_SignInit', times = 1, code = 'CKR_CRYPTOKI_NOT_INITIALIZED' }",
];

/// The load that runs under valgrind below, and by itself.
#[test]
fn handles_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    // Signatures made beforehand: cryptography is not what is looked at, and slow under valgrind.
    let hsm = TestHsm::create(directory.path(), "a", "mode = 'premade'\nkey_file = 'key'").unwrap();
    let options = || PoolOptions {
        tokens: Pkcs11Options {
            sessions: Some(3),
            ..Pkcs11Options::default()
        },
        // Nothing hangs here, however slow valgrind is.
        call_limit: Duration::from_secs(60),
        wait_limit: Duration::from_secs(60),
        probe_interval_max: Duration::from_millis(10),
        ..PoolOptions::default()
    };
    let sign = |pool: &SigningPool| {
        for outcome in sign_all(pool, &messages(30)) {
            outcome.unwrap_or_else(|error| panic!("{error}: {:#?}", pool.tokens()));
        }
    };
    for _ in 0..2 {
        let uri = hsm.uri().parse().unwrap();
        let pool = SigningPool::pkcs11_tokens(&[uri], options()).unwrap();
        for event in EVENTS {
            hsm.command(event).unwrap();
            sign(&pool);
            hsm.command("clear-faults").unwrap();
            sign(&pool);
        }
        assert_eq!(pool.tokens()[0].state, TokenState::Up);
        pool.close().unwrap();
        assert_eq!(hsm.report().unwrap().sessions_open, 0);
    }
    if std::env::var_os(LEAK_VARIABLE).is_some() {
        for _ in 0..64 {
            std::mem::forget(std::hint::black_box(vec![1_u8; 64]));
        }
    }
}

#[test]
fn memcheck_finds_nothing_but_what_was_leaked_on_purpose() {
    let clean = memcheck(false);
    let told = String::from_utf8_lossy(&clean.stderr).into_owned();
    assert!(clean.status.success(), "{told}");
    assert!(told.contains("ERROR SUMMARY: 0 errors"), "{told}");
    let leaking = memcheck(true);
    let told = String::from_utf8_lossy(&leaking.stderr).into_owned();
    assert_eq!(leaking.status.code(), Some(FOUND), "{told}");
    assert!(told.contains("are definitely lost"), "{told}");
}

/// Runs the load above under valgrind. Valgrind tells programs of no AVX-512, so that aws-lc does not
/// use what valgrind does not know.
fn memcheck(leak: bool) -> Output {
    let mut command = Command::new(valgrind());
    command
        .args(["--leak-check=full", "--show-leak-kinds=definite"])
        .args(["--errors-for-leak-kinds=definite", "--num-callers=30"])
        .arg(format!("--error-exitcode={FOUND}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "handles_come_and_go"]);
    if leak {
        command.env(LEAK_VARIABLE, "1");
    }
    command.output().unwrap()
}

/// The program, brought where it is not installed.
fn valgrind() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tool.sh");
    let output = Command::new(script).arg("valgrind").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there is no valgrind: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
