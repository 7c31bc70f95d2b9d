//! The module through a PKCS#11 client that is not the project's own.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use std::fs;
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use birthmark_test_token::{CONFIGURATION_VARIABLE, Report, TestHsm, module_file};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, Rv, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Limit, Slot};
use cryptoki::types::AuthPin;

const PIN: &str = "1234 5678";

struct Client {
    hsm: TestHsm,
    module: Pkcs11,
    directory: tempfile::TempDir,
}

impl Client {
    fn create(more: &str) -> Client {
        let directory = tempfile::tempdir().unwrap();
        let settings = format!("mode = 'software'\npin = '{PIN}'\n{more}");
        let hsm = TestHsm::create(directory.path(), "hsm", &settings).unwrap();
        let module = Pkcs11::new(hsm.module()).unwrap();
        initialize(&module).unwrap();
        Client {
            hsm,
            module,
            directory,
        }
    }

    fn slot(&self) -> Slot {
        self.module.get_slots_with_token().unwrap()[0]
    }

    fn session(&self) -> Session {
        self.module.open_ro_session(self.slot()).unwrap()
    }

    fn logged_in(&self) -> (Session, ObjectHandle) {
        let session = self.session();
        session
            .login(UserType::User, Some(&AuthPin::from(PIN)))
            .unwrap();
        let key = find(&session, ObjectClass::PRIVATE_KEY)[0];
        (session, key)
    }

    fn report(&self) -> Report {
        self.hsm.report().unwrap()
    }
}

fn initialize(module: &Pkcs11) -> Result<(), Error> {
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}

fn find(session: &Session, class: ObjectClass) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Class(class)]).unwrap()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    match outcome {
        Err(Error::Pkcs11(code, _)) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signature_is_made_and_fits_the_public_key() {
    let client = Client::create("key_label = 'issuing'\nkey_id = '0aff'");
    let (session, key) = client.logged_in();
    let hash = digest(&SHA256, b"message");
    let signature = session.sign(&Mechanism::Ecdsa, key, hash.as_ref()).unwrap();
    let public = find(&session, ObjectClass::PUBLIC_KEY)[0];
    let wanted = [
        AttributeType::EcPoint,
        AttributeType::Label,
        AttributeType::Id,
        AttributeType::Verify,
    ];
    let told = session.get_attributes(public, &wanted).unwrap();
    let [
        Attribute::EcPoint(point),
        Attribute::Label(label),
        Attribute::Id(id),
        Attribute::Verify(true),
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!((&label[..], &id[..]), (&b"issuing"[..], &[0x0a, 0xff][..]));
    // Without the DER OCTET STRING around it.
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point[2..])
        .verify(b"message", &signature)
        .unwrap();
    // The client asks for the length first.
    let report = client.report();
    assert_eq!((report.calls("C_SignInit"), report.calls("C_Sign")), (1, 2));
    assert_eq!(report.signatures, 1);
}

#[test]
fn the_token_tells_about_itself() {
    let client = Client::create("serial = '0815'\nsession_max = 7");
    assert_eq!(
        code(initialize(&client.module)),
        RvError::CryptokiAlreadyInitialized
    );
    let info = client.module.get_token_info(client.slot()).unwrap();
    assert_eq!((info.label(), info.serial_number()), ("hsm", "0815"));
    assert!(info.token_initialized() && info.login_required());
    assert!(matches!(info.max_session_count(), Limit::Max(7)));
    let mechanisms = client.module.get_mechanism_list(client.slot()).unwrap();
    assert!(mechanisms.contains(&MechanismType::ECDSA), "{mechanisms:?}");
    let absent = Slot::try_from(5_u64).unwrap();
    assert_eq!(
        code(client.module.get_token_info(absent)),
        RvError::SlotIdInvalid
    );
    client.hsm.command("remove").unwrap();
    assert_eq!(client.module.get_slots_with_token().unwrap(), []);
    let [slot] = client.module.get_all_slots().unwrap()[..] else {
        panic!("a slot without a token is a slot")
    };
    assert!(!client.module.get_slot_info(slot).unwrap().token_present());
    assert_eq!(
        code(client.module.get_token_info(slot)),
        RvError::TokenNotPresent
    );
}

#[test]
fn the_private_key_stays_inside() {
    let client = Client::create("sign_limit = 9");
    let session = client.session();
    assert!(
        find(&session, ObjectClass::PRIVATE_KEY).is_empty(),
        "before the login"
    );
    drop(session);
    let (session, key) = client.logged_in();
    let told = session
        .get_attributes(key, &[AttributeType::Value])
        .unwrap();
    assert!(told.is_empty(), "{told:?}");
    let told = session
        .get_attributes(key, &[AttributeType::Sensitive, AttributeType::Extractable])
        .unwrap();
    assert_eq!(
        told,
        [Attribute::Sensitive(true), Attribute::Extractable(false)]
    );
    // Luna's CKA_USAGE_LIMIT and CKA_USAGE_COUNT.
    let uses = || {
        [0x8000_0200, 0x8000_0101].map(|number| {
            let wanted = [AttributeType::VendorDefined(number)];
            match &session.get_attributes(key, &wanted).unwrap()[..] {
                [Attribute::VendorDefined((_, value))] => value.clone(),
                told => panic!("{told:?}"),
            }
        })
    };
    assert_eq!(uses(), [9_u64, 0].map(|uses| uses.to_ne_bytes().to_vec()));
    session.sign(&Mechanism::Ecdsa, key, &[1; 32]).unwrap();
    assert_eq!(uses(), [9_u64, 1].map(|uses| uses.to_ne_bytes().to_vec()));
}

#[test]
fn what_the_token_does_not_do_it_refuses() {
    let client = Client::create("");
    let (session, key) = client.logged_in();
    let refused = session.digest(&Mechanism::Sha256, b"message");
    assert_eq!(code(refused), RvError::FunctionNotSupported);
    let refused = session.sign(&Mechanism::EcdsaSha256, key, b"message");
    assert_eq!(code(refused), RvError::MechanismInvalid);
    let refused = session.sign(&Mechanism::Ecdsa, key, b"no digest");
    assert_eq!(code(refused), RvError::DataLenRange);
    let again = session.login(UserType::User, Some(&AuthPin::from(PIN)));
    assert_eq!(code(again), RvError::UserAlreadyLoggedIn);
}

/// Each code of the standard, by number, and at exactly the call that was named.
#[test]
fn each_code_comes_at_its_call() {
    let client = Client::create("");
    let session = client.session();
    let mut tried = 0;
    for number in 1_u64..0x400 {
        let expected = match Rv::from(number) {
            Rv::Error(RvError::UnknownErrorCode(_)) | Rv::Ok => continue,
            Rv::Error(expected) => expected,
        };
        client.hsm.command("clear-faults").unwrap();
        client
            .hsm
            .command(&format!(
                "fault = {{ function = 'C_GetSessionInfo', at = [3], code = {number} }}"
            ))
            .unwrap();
        for call in 1..=4 {
            let outcome = session.get_session_info();
            if call == 3 {
                assert_eq!(code(outcome), expected);
            } else {
                outcome.unwrap_or_else(|error| panic!("{number:#x}, call {call}: {error}"));
            }
        }
        tried += 1;
    }
    assert!(tried > 80, "{tried}");
    let report = client.report();
    assert_eq!(report.faults.values().sum::<u64>(), tried);
    assert_eq!(report.faults("CKR_HOST_MEMORY"), 1);
    assert_eq!(report.calls("C_GetSessionInfo"), 4 * tried);
}

#[test]
fn c_initialize_and_c_finalize_fail_on_demand_too() {
    let client = Client::create("");
    client.module.clone().finalize().unwrap();
    for (function, name) in [
        ("C_Initialize", "CKR_HOST_MEMORY"),
        ("C_Finalize", "CKR_DEVICE_ERROR"),
    ] {
        client
            .hsm
            .command(&format!(
                "fault = {{ function = '{function}', at = [1], code = '{name}' }}"
            ))
            .unwrap();
    }
    assert_eq!(code(initialize(&client.module)), RvError::HostMemory);
    initialize(&client.module).unwrap();
    assert_eq!(code(client.module.clone().finalize()), RvError::DeviceError);
    client.session().get_session_info().unwrap();
    client.module.clone().finalize().unwrap();
}

/// This test in another process: it finds its configuration by the environment, and what it did
/// is found in files.
#[test]
fn a_token_in_another_process_is_configured_by_the_environment_and_leaves_its_counts() {
    const ROLE: &str = "BIRTHMARK_TEST_TOKEN_CHILD";
    if std::env::var_os(ROLE).is_some() {
        let module = Pkcs11::new(module_file().unwrap()).unwrap();
        initialize(&module).unwrap();
        let slot = module.get_slots_with_token().unwrap()[0];
        assert_eq!(module.get_token_info(slot).unwrap().label(), "elsewhere");
        let session = module.open_ro_session(slot).unwrap();
        let wrong = session.login(UserType::User, Some(&AuthPin::from("wrong")));
        assert_eq!(code(wrong), RvError::PinIncorrect);
        drop(session);
        module.finalize().unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token.toml");
    let settings = "mode = 'software'\nlabel = 'elsewhere'\npin = '1234'\n\
                    state_file = 'state'\nreport_file = 'report'";
    fs::write(&file, settings).unwrap();
    for run in 1..=2 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_token_in_another_process_is_configured_by_the_environment_and_leaves_its_counts",
            ])
            .env(ROLE, "1")
            .env(CONFIGURATION_VARIABLE, &file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        let report = fs::read(directory.path().join("report")).unwrap();
        let report: Report = serde_json::from_slice(&report).unwrap();
        assert_eq!((report.logins, report.logins_refused), (1, 1));
        assert_eq!(report.memory.wrong_pins, run, "over restarts");
    }
}

#[test]
fn a_module_without_a_configuration_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let hsm = TestHsm::create(directory.path(), "hsm", "mode = 'premade'").unwrap();
    fs::remove_file(directory.path().join("hsm.so.toml")).unwrap();
    let module = Pkcs11::new(hsm.module()).unwrap();
    assert_eq!(code(initialize(&module)), RvError::GeneralError);
    let error = hsm.report().unwrap().error.unwrap();
    assert!(error.contains(CONFIGURATION_VARIABLE), "{error}");
}

#[test]
fn files_with_the_pin_are_the_owners() {
    use std::os::unix::fs::PermissionsExt;
    let client = Client::create("key_file = 'key'");
    for name in ["hsm.so.toml", "hsm.pin", "key"] {
        let mode = fs::metadata(client.directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_wrong_configuration_or_command_is_told_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let create = |settings: &str| TestHsm::create(directory.path(), "hsm", settings);
    let error = create("mode = 'software'\nrate = 3").unwrap_err();
    assert!(error.to_string().contains("`rate`"), "{error}");

    let hsm = create("mode = 'software'").unwrap();
    let error = hsm.command("vanish").unwrap_err();
    assert!(error.to_string().contains("no command"), "{error}");
    fs::write(directory.path().join("hsm.so.toml"), "mode = 'sofware'").unwrap();
    let module = Pkcs11::new(hsm.module()).unwrap();
    assert_eq!(code(initialize(&module)), RvError::GeneralError);
    let error = hsm.report().unwrap().error.unwrap();
    assert!(error.contains("line 1"), "{error}");
}
