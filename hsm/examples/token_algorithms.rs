//! Which kinds of keys a token can make and sign with, each tried: a key pair is made, signs in every
//! way it can, directly and through a session copy, and the signatures are verified here.
//!
//! `cargo run -p birthmark-hsm --example token_algorithms MODULE`
//!
//! It initializes a free slot of the module as a new token, so it is for test tokens. SoftHSM has no
//! ML-DSA; a module of PKCS#11 3.2 such as kryoptic does.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::path::PathBuf;

use birthmark_hsm::{
    KeyAlgorithm, Pkcs11Options, Pkcs11Uri, PublicKey, RsaSignature, SigningPool,
    generate_key_pair, initialize_token,
};

#[path = "../tests/test_token/mod.rs"]
mod test_token;

/// Signatures of each kind: enough to meet values with leading zeros now and then.
const SIGNATURES: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let module = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("name the PKCS#11 module: token_algorithms MODULE")?;
    let label = format!("algorithms-{}", std::process::id());
    let directory = tempfile::tempdir()?;
    let pin_file = directory.path().join("pin");
    // It protects keys that are thrown away.
    let pin = "token algorithms";
    std::fs::write(&pin_file, pin)?;
    initialize_token(&module, &label, pin, pin)?;
    for algorithm in KeyAlgorithm::ALL {
        let uri = Pkcs11Uri::new(&module, &label, algorithm.name(), Some(&pin_file));
        match generate_key_pair(&uri, algorithm) {
            Ok(key) => sign(&uri, algorithm, &key),
            Err(error) => println!("{:10} {}", algorithm.name(), chain(&error)),
        }
    }
    Ok(())
}

fn sign(uri: &Pkcs11Uri, algorithm: KeyAlgorithm, key: &PublicKey) {
    let ways: &[RsaSignature] = if algorithm.is_rsa() {
        &[RsaSignature::Pkcs1v15, RsaSignature::Pss]
    } else {
        &[RsaSignature::Pkcs1v15]
    };
    for (rsa_signature, key_copy) in ways.iter().flat_map(|way| [(*way, false), (*way, true)]) {
        let options = Pkcs11Options {
            sessions: Some(2),
            key_copy,
            rsa_signature,
        };
        let outcome = match SigningPool::pkcs11(uri, options) {
            Ok(pool) => format!(
                "{}: {}",
                pool.describe(),
                signatures(&pool, key, rsa_signature)
            ),
            Err(error) => chain(&error),
        };
        println!("{:10} {outcome}", algorithm.name());
    }
}

fn signatures(pool: &SigningPool, key: &PublicKey, rsa_signature: RsaSignature) -> String {
    let messages = test_token::messages(SIGNATURES);
    let answers = test_token::sign_all(pool, &messages);
    for (message, answer) in messages.iter().zip(answers) {
        match answer {
            Ok(signature) => {
                let signature = signature.as_bytes();
                if !test_token::verifies_as(rsa_signature, key, message, signature) {
                    return "a signature does NOT verify".to_owned();
                }
            }
            Err(error) => return chain(&error),
        }
    }
    format!("{SIGNATURES} signatures verify")
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
