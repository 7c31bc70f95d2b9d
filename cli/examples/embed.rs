//! Embedding the engine: a throw-away CA, one request, a batch, and requests that do not block.
//!
//! ```text
//! cargo run --release --package birthmark --example embed
//! ```

use std::error::Error;
use std::io::Write;

use birthmark::ceremony::{CaPlan, create};
use birthmark_engine::{Configuration, Engine, Request, SubmitError};
use birthmark_hsm::KeyAlgorithm;
use birthmark_loadgen::device::Device;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let directory = tempfile::tempdir()?;
    let ca = create(&CaPlan::new(
        directory.path().join("ca"),
        "O=Acme,CN=Acme Issuing CA".parse()?,
    ))?;

    // A station is opened from its configuration. Opening recovers what a crash left.
    let engine = Engine::open(Configuration::load(&ca.configuration)?.station()?)?;

    // One request: blocks until the certificate is durable in the log.
    let mut request = Request::new(device_csr(1)?, "idevid");
    request.lot = Some("lot-7".to_owned());
    request.data.insert("station".to_owned(), "A3".to_owned());
    let issued = engine.issue(request)?;
    writeln!(
        out,
        "record {}\n{}",
        issued.certificate.index(),
        issued.certificate.to_pem()
    )?;

    // Many: one result each, in their order. The second is the first device again, freshly signed.
    let batch = vec![
        Request::new(device_csr(2)?, "idevid"),
        Request::new(device_csr(1)?, "idevid"),
        Request::new(b"not a request".to_vec(), "idevid"),
    ];
    for result in engine.issue_batch(batch) {
        match result {
            Ok(issued) => {
                writeln!(
                    out,
                    "{:?}: record {}",
                    issued.status,
                    issued.certificate.index()
                )?;
            }
            Err(error) => writeln!(out, "refused: {error}")?,
        }
    }

    // Without blocking: a full engine says so and gives the request back. The handle blocks, polls or
    // awaits.
    match engine.submit(Request::new(device_csr(3)?, "idevid")) {
        Ok(pending) => writeln!(out, "record {}", pending.wait()?.certificate.index())?,
        Err(SubmitError::Full(_request)) => writeln!(out, "full: try again later")?,
        Err(error) => return Err(error.into()),
    }

    engine.close()?;
    Ok(())
}

/// What a device sends: a PKCS #10 request for its own key, DER.
fn device_csr(number: u64) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(Device::make(KeyAlgorithm::EcP256, 1, number)?.request()?)
}
