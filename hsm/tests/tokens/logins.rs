//! A login that a process did not live to see answered, and logins at the same time.

use std::fs;

use birthmark_hsm::{ErrorClass, TokenState};

use crate::pins::remembering;
use crate::world::{World, assert_adds_up, errors, sign_ok, wait_for};

/// As a process leaves it that is killed in C_Login.
const CUT_SHORT: &str = "a login is under way     \n";

#[test]
fn a_login_cut_short_stops_its_token_alone() {
    let world = World::new([("a", ""), ("b", "")]);
    let mark = world.file("pin-login.a.0001");
    fs::write(&mark, CUT_SHORT).unwrap();
    for _ in 0..3 {
        let pool = world.try_open(remembering(&world)).unwrap();
        let told = &pool.tokens()[0];
        assert_eq!(told.state, TokenState::PinRefused);
        assert!(told.why.contains(&format!("remove {}", mark.display())));
        sign_ok(&pool, 20);
        pool.close().unwrap();
    }
    let logins = |hsm| world.report(hsm).calls("C_Login");
    assert_eq!((logins(0), logins(1)), (0, 3));
    fs::remove_file(&mark).unwrap();
    let pool = world.try_open(remembering(&world)).unwrap();
    assert_eq!(pool.tokens()[0].state, TokenState::Up);
    assert_eq!((logins(0), logins(1)), (1, 4));
}

/// A login that was lost is renewed under the same rule.
#[test]
fn a_login_cut_short_elsewhere_is_not_renewed() {
    let world = World::new([("a", ""), ("b", "")]);
    let pool = world.try_open(remembering(&world)).unwrap();
    sign_ok(&pool, 20);
    fs::write(world.file("pin-login.a.0001"), CUT_SHORT).unwrap();
    world.command(0, "lose-login");
    wait_for(&pool, "the PIN is held back", || {
        sign_ok(&pool, 20);
        pool.tokens()[0].state == TokenState::PinRefused
    });
    assert!(pool.tokens()[0].why.contains("ended while it logged in"));
    assert_eq!(world.report(0).calls("C_Login"), 1, "the start's");
}

/// The two modules stand for two processes: they share the token's name and the directory alone.
#[test]
fn starts_at_the_same_time_send_a_wrong_pin_once_and_a_right_one_each() {
    let worlds = [0, 1].map(|_| World::new([("a", "")]));
    let shared = tempfile::tempdir().unwrap();
    let start = |world: &World| {
        let mut options = world.options();
        options.state_directory = Some(shared.path().to_owned());
        world.try_open(options)
    };
    let both = || {
        std::thread::scope(|scope| {
            let starts: Vec<_> = worlds
                .iter()
                .map(|world| scope.spawn(|| start(world)))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect::<Vec<_>>()
        })
    };
    let logins = || -> u64 {
        let reports = worlds.iter().map(|world| world.report(0));
        reports.map(|report| report.calls("C_Login")).sum()
    };
    for world in &worlds {
        world.command(
            0,
            "fault = { function = 'C_Login', times = 1, hang_s = 0.2 }",
        );
    }
    for pool in both() {
        sign_ok(&pool.unwrap(), 20);
    }
    assert_eq!(logins(), 2);
    for world in &worlds {
        fs::write(world.file("a.pin"), "wrong").unwrap();
        world.command(
            0,
            "fault = { function = 'C_Login', times = 1, hang_s = 0.2 }",
        );
    }
    for pool in both() {
        let error = pool.unwrap_err();
        assert_eq!(error.class(), Some(ErrorClass::Pin), "{error}");
    }
    assert_eq!(
        logins(),
        3,
        "the second start heard what the first was told"
    );
}

/// NSS says that an RSA key is of the wrong kind where the login is missing.
#[test]
fn a_lost_login_is_seen_behind_a_key_of_the_wrong_kind() {
    let world = World::new([("a", "")]);
    let pool = world.open();
    sign_ok(&pool, 20);
    // Once with the login lost, and once without: then the key is what the token says.
    let wrong = "function = 'C_SignInit', at = [1], code = 'CKR_KEY_TYPE_INCONSISTENT'";
    world.command(0, &format!("fault = {{ {wrong}, login = 'lose' }}"));
    sign_ok(&pool, 20);
    assert_eq!(world.report(0).logins, 2);
    world.command(0, &format!("fault = {{ {wrong} }}"));
    let [error] = &errors(&pool, 20)[..] else {
        panic!("one job is refused")
    };
    assert_eq!(error.class(), ErrorClass::Request, "{error}");
    assert_eq!(world.report(0).logins, 2);
    assert_adds_up(&pool.tokens());
}
