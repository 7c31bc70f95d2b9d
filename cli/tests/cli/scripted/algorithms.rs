//! A ceremony with keys of every kind, from the root's key to a certificate that the installed CA issues.

use std::fs;

use birthmark_hsm::KeyAlgorithm;

use crate::support::{assert_code, birthmark, column, request_pem};

use super::world::{World, openssl};

/// Root and issuing key of one kind, in files.
fn plan(algorithm: &str, signature: &str) -> String {
    let key = |name: &str| {
        format!(
            "[keys.{name}]\nplace = \"file\"\nfile = \"{name}.key\"\nalgorithm = \"{algorithm}\"\n{signature}"
        )
    };
    format!("{}{}{STEPS}", key("root"), key("issuing"))
}

const COUNT: usize = 6;

const STEPS: &str = r#"
[[step]]
do = "make-key"
key = "root"
[[step]]
do = "self-sign"
key = "root"
subject = "CN=Root"
out = "root.pem"
[[step]]
do = "make-key"
key = "issuing"
[[step]]
do = "issue"
issuer = "root"
issuer_certificate = "root.pem"
key = "issuing"
subject = "CN=Issuing"
out = "issuing.pem"
[[step]]
do = "test-key"
key = "issuing"
certificate = "issuing.pem"
[[step]]
do = "install"
key = "issuing"
certificate = "issuing.pem"
chain = "root.pem"
directory = "ca"
"#;

fn carried_out(algorithm: KeyAlgorithm, signature: &str) {
    let world = World::without_token();
    let name = algorithm.name();
    let plan = world.plan("any", "officer", &plan(name, signature));
    world.approve(&plan, &["ada", "bob"]);
    let done = world.run(&plan, COUNT);
    assert_code(&done, 0);
    let config = world.text("ca/birthmark.toml");
    let issued = birthmark(
        &["issue", "--config", &config, "--profile", "idevid", "-"],
        request_pem(1).as_bytes(),
    );
    assert_code(&issued, 0);
    assert_eq!(column(&issued, "status"), ["issued"], "{name}");
    // An openssl of before 3.5 knows no ML-DSA; the command itself verified the chain, and the engine what it issued.
    if algorithm.ml_dsa().is_none() {
        fs::write(world.path("device.pem"), &column(&issued, "certificate")[0]).unwrap();
        let verify = [
            "verify",
            "-CAfile",
            "root.pem",
            "-untrusted",
            "issuing.pem",
            "device.pem",
        ];
        openssl(world.outer.path(), &verify);
    }
}

#[test]
fn keys_of_every_kind_finish_a_ceremony() {
    for algorithm in KeyAlgorithm::ALL {
        carried_out(algorithm, "");
    }
}

#[test]
fn rsa_keys_that_sign_pss_finish_a_ceremony() {
    for algorithm in KeyAlgorithm::ALL {
        if algorithm.is_rsa() {
            carried_out(algorithm, "signature = \"pss\"\n");
        }
    }
}

#[test]
fn a_signature_is_said_of_rsa_keys_alone() {
    let world = World::without_token();
    for (algorithm, signature, code) in [
        ("rsa2048", "pss", 0),
        ("rsa2048", "other", 2),
        ("p256", "pss", 2),
    ] {
        let signature = format!("signature = \"{signature}\"\n");
        let plan = world.plan("said", "officer", &plan(algorithm, &signature));
        assert_code(&birthmark(&["ca", "ceremony", "check", &plan], b""), code);
    }
}
