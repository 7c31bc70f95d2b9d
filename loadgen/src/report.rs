//! What a run found, for people and for machines.

use std::fmt;

use birthmark_engine::Metrics;
use serde::Serialize;

use crate::ratio::Spread;

/// The outcome of a run. Serialized, its field names are the documented JSON keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Requests answered with a certificate, warm-up included.
    pub certificates: u64,
    /// Those of them whose certificate existed before.
    pub existing: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests that a fault of the system left without an answer of their own.
    pub faults: u64,
    /// Requests that the engine did not take because it stopped.
    pub unfinished: u64,
    /// Answers that differ from what `--expect` said.
    pub unexpected: u64,
    /// Issued certificates whose log index another one of this run has.
    pub doubled: u64,
    /// Certificates that differ from the digest file.
    pub digest_mismatches: u64,
    /// The first failures, in words.
    pub errors: Vec<String>,
    /// Wall time of the engine's slices in seconds; warm-up and limit slices excluded.
    pub seconds: f64,
    /// Certificates for each of those seconds.
    pub certificates_per_second: f64,
    /// The same for an hour.
    pub certificates_per_hour: f64,
    /// Median of the limit slices: what the cryptography alone would allow, verified as the engine verifies. None if not
    /// measured.
    pub limit_per_second: Option<f64>,
    /// The same with aws-lc-rs alone, measured in turn with the others. Equal to `limit_per_second` where nothing is verified
    /// on lanes: then it is the same loop.
    pub scalar_limit_per_second: Option<f64>,
    /// Median over slice pairs of engine rate over limit rate. None if not measured.
    pub ratio_to_limit: Option<f64>,
    /// Smallest and largest ratio of a pair.
    pub ratio_spread: Option<Spread>,
    /// Median over slice pairs of engine rate over the rate of aws-lc-rs alone.
    pub ratio_to_scalar_limit: Option<f64>,
    /// Processor time of this process for one certificate in microseconds, what generated the
    /// load included. None where the system does not say.
    pub processor_us_per_certificate: Option<f64>,
    /// The same of the limit loop.
    pub limit_processor_us_per_certificate: Option<f64>,
    /// Median over slice pairs of the limit's processor time over the engine's: the ratio that
    /// stays true when other programs use the machine too.
    pub processor_ratio_to_limit: Option<f64>,
    /// The same for the loop of aws-lc-rs alone.
    pub processor_ratio_to_scalar_limit: Option<f64>,
    /// Cores that other programs kept busy during the engine's slices.
    pub other_load_cores: Option<f64>,
    /// Threads of the limit loop: the best number found.
    pub limit_threads: Option<usize>,
    /// Whether lanes verified anything in the limit loop. False: `scalar_limit_per_second` is the same loop.
    pub limit_has_lanes: Option<bool>,
    /// How the engine verifies P-256 signatures.
    pub verification: &'static str,
    /// What the engine's lanes did, warm-up included.
    #[serde(flatten)]
    pub lanes: Lanes,
    /// Engine slices measured.
    pub slices: usize,
    /// Requests answered before the clock started. They count as certificates, not in rates and
    /// latencies.
    pub warm_up: u64,
    /// Offered rate in requests per second: open loop only.
    pub offered_per_second: Option<f64>,
    /// Latency in microseconds.
    pub latency_us: Latency,
    /// Syncs of the log per second of engine time.
    pub syncs_per_second: f64,
    /// Records (reservations, which share the sync, not counted) made durable by one sync.
    pub records_per_sync: f64,
    /// The most memory the process held (VmHWM). None where the system does not say.
    pub peak_rss_bytes: Option<u64>,
    /// Of the memory held at the end, what is not backed by a file (RssAnon).
    pub anonymous_rss_bytes: Option<u64>,
    /// Cores this process may use.
    pub cores: usize,
    /// Of these, what generating the load took.
    pub driver_cores: Option<f64>,
    /// Threads of the engine's pool.
    pub engine_threads: usize,
    /// Who signs.
    pub signer: String,
    /// Whether each certificate was durable in the log before it was counted.
    pub durable: bool,
}

/// What the lanes of the engine's verifier did. All 0 where signatures are verified one by one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Lanes {
    /// Share of the lanes that had a signature to verify, 0 to 1. None if none ran.
    pub lane_occupancy: Option<f64>,
    /// Signatures that were verified on lanes.
    pub lanes_filled: u64,
    /// Signatures that were not valid on the lanes and were verified again by aws-lc-rs.
    pub lanes_asked_again: u64,
    /// Of these, those that aws-lc-rs found valid: a fault.
    pub lanes_disagreements: u64,
}

impl Lanes {
    /// What was done between two readings of an engine's figures.
    pub(crate) fn between(before: &Metrics, after: &Metrics) -> Lanes {
        let lanes_filled = after.lanes_filled - before.lanes_filled;
        let run = after.lanes_run - before.lanes_run;
        Lanes {
            lane_occupancy: (run > 0).then(|| lanes_filled as f64 / run as f64),
            lanes_filled,
            lanes_asked_again: after.lanes_asked_again - before.lanes_asked_again,
            lanes_disagreements: after.lanes_disagreements - before.lanes_disagreements,
        }
    }
}

/// The text warns when other programs use more than this part of the cores: the ratio's own
/// noise is about as large.
const OTHER_LOAD_PART: f64 = 0.05;

/// Percentiles of a latency distribution, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Latency {
    /// Half of the requests took no longer.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Report {
    /// Whether the engine stopped or failed on its own account.
    pub fn has_faults(&self) -> bool {
        self.faults > 0 || self.unfinished > 0
    }

    /// Whether every request got its certificate and everything that was checked held.
    pub fn is_clean(&self) -> bool {
        !self.has_faults()
            && self.rejected == 0
            && self.unexpected == 0
            && self.doubled == 0
            && self.digest_mismatches == 0
    }
}

/// The form for people: aligned, with units.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_counts(f)?;
        self.fmt_rates(f)?;
        self.fmt_limit(f)?;
        self.fmt_latency(f)?;
        self.fmt_machine(f)
    }
}

/// One aligned line.
fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<18}{value}")
}

impl Report {
    fn fmt_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let existing = match self.existing {
            0 => String::new(),
            n => format!("   ({} of them existed before)", grouped(n)),
        };
        line(
            f,
            "certificates",
            format_args!("{}{existing}", grouped(self.certificates)),
        )?;
        for (name, count) in [
            ("rejected", self.rejected),
            ("faults", self.faults),
            ("unfinished", self.unfinished),
            ("unexpected", self.unexpected),
            ("doubled", self.doubled),
            ("other than before", self.digest_mismatches),
        ] {
            if count > 0 || name == "rejected" {
                line(f, name, grouped(count))?;
            }
        }
        self.errors.iter().try_for_each(|error| line(f, "", error))
    }

    fn fmt_rates(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slices = match self.slices {
            0 | 1 => String::new(),
            n => format!(" in {n} slices"),
        };
        let warm_up = format!("after {} to warm up", grouped(self.warm_up));
        line(
            f,
            "time",
            format_args!("{:.2} s{slices}, {warm_up}", self.seconds),
        )?;
        if let Some(offered) = self.offered_per_second {
            line(
                f,
                "offered",
                format_args!("{}/s", grouped(offered.round() as u64)),
            )?;
        }
        let rate = grouped(self.certificates_per_second.round() as u64);
        let per_hour = self.certificates_per_hour / 1e6;
        line(f, "rate", format_args!("{rate}/s   {per_hour:.1} M/h"))
    }

    fn fmt_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(limit), Some(threads)) = (self.limit_per_second, self.limit_threads) {
            let limit = grouped(limit.round() as u64);
            let threads = format!("cryptography alone, {threads} threads");
            line(f, "limit", format_args!("{limit}/s   ({threads})"))?;
        }
        if let (Some(limit), Some(has_lanes)) = (self.scalar_limit_per_second, self.limit_has_lanes)
        {
            let limit = grouped(limit.round() as u64);
            let note = match has_lanes {
                true => "with aws-lc-rs alone",
                false => "the same loop: no lanes",
            };
            line(f, "scalar limit", format_args!("{limit}/s   ({note})"))?;
        }
        if let (Some(ratio), Some(Spread { min, max })) = (self.ratio_to_limit, self.ratio_spread) {
            line(
                f,
                "ratio to limit",
                format_args!("{ratio:.3}   ({min:.3} to {max:.3})"),
            )?;
        }
        if let Some(ratio) = self.ratio_to_scalar_limit {
            line(f, "ratio to scalar", format_args!("{ratio:.3}"))?;
        }
        if let Some(own) = self.processor_us_per_certificate {
            let limit = match (
                self.limit_processor_us_per_certificate,
                self.processor_ratio_to_limit,
            ) {
                (Some(limit), Some(ratio)) => {
                    let scalar = self.processor_ratio_to_scalar_limit.unwrap_or(ratio);
                    format!("   (limit {limit:.1} µs: ratio {ratio:.3}, to scalar {scalar:.3})")
                }
                _ => String::new(),
            };
            line(
                f,
                "processor time",
                format_args!("{own:.1} µs a certificate{limit}"),
            )?;
        }
        if let Some(others) = self.other_load_cores
            && others > OTHER_LOAD_PART * self.cores as f64
        {
            let note = "other programs; trust the processor time, not the rates";
            line(
                f,
                "busy elsewhere",
                format_args!("{others:.2} cores   ({note})"),
            )?;
        }
        Ok(())
    }

    fn fmt_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_us;
        let shown = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        ]
        .map(|(name, value)| format!("{name} {}", milliseconds(value)))
        .join("   ");
        line(f, "latency", shown)
    }

    fn fmt_machine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (syncs, records) = (self.syncs_per_second, self.records_per_sync);
        line(
            f,
            "log",
            format_args!("{syncs:.0} syncs/s   {records:.1} records per sync"),
        )?;
        if let Some(bytes) = self.peak_rss_bytes {
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            line(f, "peak memory", format_args!("{mebibytes:.1} MiB"))?;
        }
        let driver = match self.driver_cores {
            Some(cores) => format!("   ({cores:.2} generated the load)"),
            None => String::new(),
        };
        line(f, "cores", format_args!("{}{driver}", self.cores))?;
        line(f, "signer", &self.signer)?;
        let lanes = &self.lanes;
        let lanes = match lanes.lane_occupancy {
            Some(occupancy) => format!(
                "   ({:.1} % of the lanes filled, {} asked again, {} disagreements)",
                occupancy * 100.0,
                grouped(lanes.lanes_asked_again),
                grouped(lanes.lanes_disagreements)
            ),
            None => String::new(),
        };
        line(
            f,
            "verification",
            format_args!("{}{lanes}", self.verification),
        )?;
        line(f, "durable", if self.durable { "yes" } else { "no" })
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn milliseconds(microseconds: f64) -> String {
    match microseconds / 1000.0 {
        ms if ms < 10.0 => format!("{ms:.3} ms"),
        ms if ms < 1000.0 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests;
