//! Which root an installed CA trusts.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use der::{DecodePem, Encode};
use x509_cert::Certificate;

use crate::support::{Factory, assert_code, birthmark, error_line, text};

use super::verify::signed;
use super::world::{World, chained, lines_of};

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

const ROOT_KEY: &str = "[keys.root]\nplace = \"file\"\nfile = \"root.key\"\n";

/// Makes a root and an issuing CA in five steps, the last of which installs it.
fn new_ca(chain: &str) -> String {
    format!(
        "{ROOT_KEY}algorithm = \"p256\"\n\
         [keys.issuing]\nplace = \"file\"\nfile = \"issuing.key\"\nalgorithm = \"p256\"\n\
         [[step]]\ndo = \"make-key\"\nkey = \"root\"\n\
         [[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"root.pem\"\n\
         [[step]]\ndo = \"make-key\"\nkey = \"issuing\"\n\
         [[step]]\ndo = \"issue\"\nissuer = \"root\"\nissuer_certificate = \"root.pem\"\nkey = \"issuing\"\n\
         subject = \"CN=Issuing\"\nout = \"issuing.pem\"\n\
         [[step]]\ndo = \"install\"\nkey = \"issuing\"\ncertificate = \"issuing.pem\"\nchain = \"{chain}\"\n\
         directory = \"ca\"\n"
    )
}

const INSTALL: usize = 5;

/// Another certificate of the same key under the same name: everything about it holds but that nobody approved it.
fn other_root(world: &World, plan: &str) {
    let journal = fs::read_to_string(world.journal(plan)).unwrap();
    let begin = journal.find("\"keys\":{\"root\":\"").unwrap() + 16;
    let key = &journal[begin..begin + 64];
    let rest = format!(
        "{ROOT_KEY}existing = true\npublic_key_sha256 = \"{key}\"\n\
         [[step]]\ndo = \"self-sign\"\nkey = \"root\"\nsubject = \"CN=Root\"\nout = \"other.pem\"\n"
    );
    let other = world.plan("other", "officer", &rest);
    world.approve(&other, &["ada", "bob"]);
    assert_code(&world.run(&other, 1), 0);
}

/// Between two steps of one run, in which nothing is compared but what a step reads.
#[test]
fn a_root_that_is_exchanged_during_the_run_is_refused() {
    for chain in ["root.pem", "chain.pem"] {
        let world = World::without_token();
        let plan = world.plan("exchanged", "officer", &new_ca(chain));
        world.approve(&plan, &["ada", "bob"]);
        assert_code(&world.run(&plan, 2), 1);
        other_root(&world, &plan);
        let right = fs::read(world.path("root.pem")).unwrap();
        let exchanged = |step: usize| {
            let refused = world.run_with(&plan, |asked| {
                if asked == step {
                    for file in ["root.pem", chain] {
                        fs::copy(world.path("other.pem"), world.path(file)).unwrap();
                    }
                }
            });
            assert_code(&refused, 3);
            let line = error_line(&refused);
            assert!(line.contains("root.pem is not as step 2 made it"), "{line}");
            for file in ["root.pem", chain] {
                fs::write(world.path(file), &right).unwrap();
            }
        };
        exchanged(4);
        assert!(!world.path("issuing.pem").exists());
        exchanged(INSTALL);
        assert!(!world.path("ca").exists());
        assert_code(&world.run(&plan, 2), 0);
        let installed = fs::read(world.path("ca/root").join("root-ca.pem")).unwrap();
        assert_eq!(installed, right);
    }
}

/// The root stands in the journal by itself, where it is made and where it is installed; whoever signs the transcript
/// cannot put another one there.
#[test]
fn a_transcript_names_the_root_that_was_made_and_installed() {
    let world = World::without_token();
    let plan = world.plan("named", "officer", &new_ca("root.pem"));
    world.approve(&plan, &["ada", "bob"]);
    assert_code(&world.run(&plan, INSTALL), 0);
    let root = sha256(&certificate(&world.path("root.pem")).to_der().unwrap());
    let lines = world.transcript(&plan);
    let named = |line: &serde_json::Value| line["root"].as_str().map(str::to_owned);
    let named: Vec<String> = lines.iter().filter_map(named).collect();
    assert_eq!(named, [root.clone(), root.clone()]);
    let verify = || birthmark(&["ca", "ceremony", "verify", &plan], b"");
    let proved = verify();
    assert_code(&proved, 0);
    let shown = text(&proved.stdout);
    assert!(shown.contains(&format!("root SHA-256 {root}")), "{shown}");
    assert!(shown.contains("root-ca.pem: as it was made"), "{shown}");

    let file = world.path("named.transcript");
    let note = birthmark_log::tlog::Note::parse(&fs::read(&file).unwrap()).unwrap();
    let lines = lines_of(&note.text);
    let name = format!("\"root\":\"{root}\"");
    let roots: Vec<usize> = (0..lines.len())
        .filter(|line| lines[*line].contains(&name))
        .collect();
    let forged = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        edit(&mut lines);
        fs::write(&file, signed(&world, chained(&lines))).unwrap();
        let refused = verify();
        assert_code(&refused, 1);
        error_line(&refused)
    };
    let zeros = format!("\"root\":\"{}\"", "0".repeat(64));
    let other = |lines: &mut Vec<String>, place: usize| {
        lines[place] = lines[place].replace(&name, &zeros);
    };
    for place in roots.iter().copied() {
        let line = forged(&|lines| lines[place] = lines[place].replace(&format!("{name},"), ""));
        assert!(line.contains("it does not name its root"), "{line}");
    }
    let line = forged(&|lines| other(lines, roots[1]));
    assert!(line.contains("its root is none that was made"), "{line}");
    let line = forged(&|lines| roots.iter().for_each(|place| other(lines, *place)));
    assert!(
        line.contains("root.pem is not the root that the transcript names"),
        "{line}"
    );
}
