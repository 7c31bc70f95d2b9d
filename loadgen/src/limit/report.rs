//! What the limit loop found by itself.

use std::fmt;

use birthmark_hsm::KeyAlgorithm;
use serde::Serialize;

use super::LimitSlice;
use crate::process;
use crate::ratio::{Spread, median, spread};
use crate::report::grouped;

/// The limit of a configuration. Serialized, its field names are the JSON keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitReport {
    /// Certificates per second that the cryptography alone allows: median of the slices.
    pub limit_per_second: f64,
    /// The same for an hour.
    pub limit_per_hour: f64,
    /// Slowest and fastest slice.
    pub spread: Spread,
    /// Processor time of one certificate in microseconds: median of the slices. None where the
    /// system does not say.
    pub processor_us_per_certificate: Option<f64>,
    /// The same as `limit_per_second` with aws-lc-rs alone, measured in turn with it. Equal to it where nothing is verified on
    /// lanes: then there is one loop.
    pub scalar_limit_per_second: f64,
    /// Processor time of one certificate in that loop, in microseconds.
    pub scalar_processor_us_per_certificate: Option<f64>,
    /// How the loop of `limit_per_second` verifies P-256 signatures.
    pub verification: &'static str,
    /// Slices measured.
    pub slices: usize,
    /// Threads: the best number found, or the one asked for.
    pub threads: usize,
    /// Cores this process may use.
    pub cores: usize,
    /// Kind of the device keys whose requests were verified.
    pub request_algorithm: &'static str,
    /// Who signs.
    pub signer: String,
}

impl LimitReport {
    /// Sums up slices that ran with the same settings: pairs of the limit's and of aws-lc-rs alone.
    pub fn new(
        slices: &[(LimitSlice, LimitSlice)],
        threads: usize,
        verification: &'static str,
        signer: String,
        requests: KeyAlgorithm,
    ) -> LimitReport {
        let rates = || slices.iter().map(|(slice, _)| slice.per_second);
        let limit_per_second = median(rates()).unwrap_or(0.0);
        LimitReport {
            limit_per_second,
            limit_per_hour: limit_per_second * 3600.0,
            spread: spread(rates()).unwrap_or(Spread { min: 0.0, max: 0.0 }),
            processor_us_per_certificate: median(
                slices.iter().filter_map(|(slice, _)| slice.processor_us),
            ),
            scalar_limit_per_second: median(slices.iter().map(|(_, scalar)| scalar.per_second))
                .unwrap_or(0.0),
            scalar_processor_us_per_certificate: median(
                slices.iter().filter_map(|(_, scalar)| scalar.processor_us),
            ),
            verification,
            slices: slices.len(),
            threads,
            cores: process::cores(),
            request_algorithm: requests.name(),
            signer,
        }
    }
}

/// The form for people: aligned, with units.
impl fmt::Display for LimitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |rate: f64| grouped(rate.round() as u64);
        let mut line = |name: &str, value: String| writeln!(f, "{name:<18}{value}");
        let hourly = self.limit_per_hour / 1e6;
        line(
            "limit",
            format!("{}/s   {hourly:.1} M/h", whole(self.limit_per_second)),
        )?;
        line(
            "spread",
            format!(
                "{}/s to {}/s",
                whole(self.spread.min),
                whole(self.spread.max)
            ),
        )?;
        if let Some(time) = self.processor_us_per_certificate {
            line("processor time", format!("{time:.1} µs a certificate"))?;
        }
        let scalar = match self.scalar_limit_per_second {
            same if same == self.limit_per_second => "the same loop: no lanes".to_owned(),
            rate => format!("{}/s   (aws-lc-rs alone)", whole(rate)),
        };
        line("scalar limit", scalar)?;
        line("verification", self.verification.to_owned())?;
        line("slices", self.slices.to_string())?;
        line(
            "threads",
            format!("{} on {} cores", self.threads, self.cores),
        )?;
        line("requests", self.request_algorithm.to_owned())?;
        line("signer", self.signer.clone())
    }
}
