//! What `birthmark --version --verbose` adds: what the processor gives.

use std::env::consts::ARCH;

use birthmark_engine::Verification;

/// A line on the processor, and one on how P-256 signatures are verified on it unless a configuration says `scalar`.
#[must_use]
pub fn processor() -> String {
    let path = Verification::Auto.verifier().path();
    format!(
        "processor         {ARCH}\nverification      {}\n",
        path.name()
    )
}
