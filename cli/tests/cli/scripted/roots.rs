//! Which root an installed CA trusts.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use der::{DecodePem, Encode};
use x509_cert::Certificate;

use crate::support::{Factory, assert_code, birthmark, error_line, text};

use super::world::World;

fn sha256(bytes: &[u8]) -> String {
    birthmark::hex::encode(digest(&SHA256, bytes).as_ref())
}

fn certificate(path: &Path) -> Certificate {
    Certificate::from_pem(fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_outside_root_is_stated_in_the_plan() {
    let (world, ca) = (World::without_token(), Factory::new());
    let path = |name: &str| ca.path("ca").join(name);
    let issuing = certificate(&path("issuing-ca.pem"));
    let key = issuing.tbs_certificate().subject_public_key_info();
    let key = sha256(&key.to_der().unwrap());
    let right = sha256(&certificate(&path("root/root-ca.pem")).to_der().unwrap());
    let plan = |name: &str, root: &str| {
        let rest = format!(
            "[keys.issuing]\nplace = \"file\"\nfile = {:?}\nexisting = true\npublic_key_sha256 = \"{key}\"\n\
             [[step]]\ndo = \"install\"\nkey = \"issuing\"\ncertificate = {:?}\nchain = {:?}\ndirectory = \"{name}\"\n{root}",
            path("issuing-ca.key"),
            path("issuing-ca.pem"),
            path("root/root-ca.pem"),
        );
        world.plan(name, "officer", &rest)
    };
    let check = |plan: &str| birthmark(&["ca", "ceremony", "check", plan], b"");
    for (name, root, words) in [
        (
            "none",
            String::new(),
            "step 1: nothing says which root is trusted",
        ),
        (
            "short",
            "root_sha256 = \"00\"\n".to_owned(),
            "64 hexadecimal digits",
        ),
    ] {
        let refused = check(&plan(name, &root));
        assert_code(&refused, 2);
        let line = error_line(&refused);
        assert!(line.contains(words), "{line}");
    }
    let wrong = plan("wrong", &format!("root_sha256 = \"{}\"\n", "0".repeat(64)));
    let refused = world.run(&wrong, 1);
    assert_code(&refused, 2);
    let line = error_line(&refused);
    assert!(
        line.contains(&right) && line.contains("do not install it"),
        "{line}"
    );
    assert!(!world.path("wrong").exists());

    let stated = plan("right", &format!("root_sha256 = \"{right}\"\n"));
    let shown = text(&check(&stated).stdout);
    assert!(
        shown.contains(&format!("the root with SHA-256 {right}")),
        "{shown}"
    );
    assert_code(&world.run(&stated, 1), 0);
    assert!(world.path("right/birthmark.toml").exists());
}
