//! HTTP, as a client: published files from a static file server, checkpoints to witnesses.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use birthmark_log::keep::{
    SourceError, TreeSource, WITNESS_ANSWER_BYTES_MAX, WitnessAnswer, WitnessClient,
};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::KeepError;

/// One request with its answer. A bundle has 16 MiB at most; a witness answers at once.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Time to get a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A static file server may send us on once or twice, a witness never.
const REDIRECTS_MAX: u32 = 3;

/// Names a file with the root certificates to trust, as with OpenSSL.
const ROOTS_VARIABLE: &str = "SSL_CERT_FILE";

/// Where systems keep their root certificates: Debian, Fedora, Alpine and openSUSE.
const ROOTS_FILES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Whether this is an address and not a path.
pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// A client for this address. What it verifies servers with is loaded for `https` alone.
fn agent(url: &str, redirects_max: u32) -> Result<Agent, KeepError> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(redirects_max)
        .timeout_global(Some(REQUEST_TIME_MAX))
        .timeout_connect(Some(CONNECT_TIME_MAX));
    if url.starts_with("https://") {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(root_certificates()?);
        config = config.https_only(true).tls_config(tls.build());
    }
    Ok(config.build().new_agent())
}

/// The system's root certificates.
fn root_certificates() -> Result<RootCerts, KeepError> {
    let named = std::env::var_os(ROOTS_VARIABLE).map(std::path::PathBuf::from);
    let standard = ROOTS_FILES.iter().map(Path::new).find(|path| path.exists());
    let path = named.or_else(|| standard.map(Path::to_owned));
    let path = path.ok_or(KeepError::NoRoots)?;
    let pem = std::fs::read(&path).map_err(|source| KeepError::File {
        path: path.clone(),
        source,
    })?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(KeepError::NoRoots);
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// A log's published files on a web server.
pub(super) struct HttpSource {
    agent: Agent,
    /// Without a slash at the end.
    prefix: String,
}

impl HttpSource {
    pub(super) fn new(url: &str) -> Result<HttpSource, KeepError> {
        Ok(HttpSource {
            agent: agent(url, REDIRECTS_MAX)?,
            prefix: url.trim_end_matches('/').to_owned(),
        })
    }
}

impl TreeSource for HttpSource {
    fn read(&self, path: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let url = format!("{}/{path}", self.prefix);
        let response = self.agent.get(&url).call();
        let mut response = response.map_err(|error| SourceError::new(&url, error))?;
        match response.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            status => return Err(SourceError::new(&url, format!("status {status}"))),
        }
        let bytes = read_bounded(response.body_mut().as_reader(), bytes_max);
        bytes
            .map(Some)
            .map_err(|error| SourceError::new(&url, error))
    }

    fn location(&self) -> String {
        self.prefix.clone()
    }
}

/// The way to a witness.
pub(super) struct HttpWitness {
    agent: Agent,
    url: String,
}

impl HttpWitness {
    pub(super) fn new(url: &str) -> Result<HttpWitness, KeepError> {
        Ok(HttpWitness {
            agent: agent(url, 0)?,
            url: format!("{}/add-checkpoint", url.trim_end_matches('/')),
        })
    }
}

impl WitnessClient for HttpWitness {
    fn add_checkpoint(
        &self,
        body: &str,
    ) -> Result<WitnessAnswer, Box<dyn std::error::Error + Send + Sync>> {
        let request = self.agent.post(&self.url).content_type("text/plain");
        let mut response = request.send(body)?;
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        Ok(WitnessAnswer {
            status: response.status().as_u16(),
            content_type,
            body: read_bounded(response.body_mut().as_reader(), WITNESS_ANSWER_BYTES_MAX)?,
        })
    }
}

fn read_bounded(reader: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= bytes_max {
        return Ok(bytes);
    }
    let text = format!("more than {bytes_max} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}
