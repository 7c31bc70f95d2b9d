//! Certificates with a single fault.
//!
//! A fault is put into a certificate that the engine issued, and the certificate is signed again with the
//! issuer's key wherever that can be done: its signature verifies, so that nothing but the fault can be found.

mod alternative_names;
mod certificate;
mod encoding;
mod extensions;
mod fields;
mod keys;
mod matter;
mod names;
mod usage;

use crate::authority::{Base, World};
use crate::der_tree::Node;

/// One way to get a certificate wrong.
#[derive(Clone, Copy)]
pub struct CertificateFault {
    /// Kebab case, unique.
    pub name: &'static str,
    /// What it is put into.
    pub base: Base,
    /// The rule that it breaks.
    pub source: &'static str,
    /// The linter's rules of which one has to be found, by their ids.
    pub rules: &'static [&'static str],
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// In the certificate, which is signed afterwards.
    Signed(fn(&mut Node)),
    /// In the certificate as it was signed.
    Unsigned(fn(&mut Node)),
    /// In its bytes.
    Octets(fn(&mut Vec<u8>)),
}

impl CertificateFault {
    /// Every fault, in the order of the fields.
    pub fn all() -> impl Iterator<Item = &'static CertificateFault> {
        [
            encoding::FAULTS,
            fields::FAULTS,
            names::FAULTS,
            alternative_names::FAULTS,
            keys::FAULTS,
            usage::FAULTS,
            extensions::FAULTS,
            matter::FAULTS,
        ]
        .into_iter()
        .flatten()
    }

    /// The certificate with this fault, DER or what is left of it.
    #[must_use]
    pub fn apply(&self, world: &World) -> Vec<u8> {
        let good = world.good(self.base);
        let mut tree = Node::parse(good);
        match self.change {
            Change::Signed(change) => {
                change(&mut tree);
                let signature = world.issuer_key(self.base).sign(&tree[0].encode());
                tree[2] = Node::bits(0, &signature);
                tree.encode()
            }
            Change::Unsigned(change) => {
                change(&mut tree);
                tree.encode()
            }
            Change::Octets(change) => {
                let mut octets = good.to_vec();
                change(&mut octets);
                octets
            }
        }
    }
}

const fn fault(
    name: &'static str,
    base: Base,
    source: &'static str,
    rules: &'static [&'static str],
    change: Change,
) -> CertificateFault {
    CertificateFault {
        name,
        base,
        source,
        rules,
        change,
    }
}
