use super::*;

fn report() -> Report {
    Report {
        certificates: 200_000,
        existing: 0,
        rejected: 0,
        faults: 0,
        unfinished: 0,
        unexpected: 0,
        doubled: 0,
        digest_mismatches: 0,
        errors: Vec::new(),
        seconds: 10.5,
        certificates_per_second: 18_095.24,
        certificates_per_hour: 65_142_857.0,
        limit_per_second: Some(20_500.0),
        scalar_limit_per_second: Some(8_200.0),
        ratio_to_limit: Some(0.8827),
        processor_us_per_certificate: Some(104.25),
        limit_processor_us_per_certificate: Some(95.81),
        processor_ratio_to_limit: Some(0.9191),
        processor_ratio_to_scalar_limit: Some(2.2),
        ratio_to_scalar_limit: Some(2.2068),
        other_load_cores: Some(0.31),
        ratio_spread: Some(Spread {
            min: 0.85,
            max: 0.91,
        }),
        limit_threads: Some(2),
        limit_has_lanes: Some(true),
        verification: "8 lanes (AVX-512 IFMA)",
        lanes: Lanes {
            lane_occupancy: Some(0.9876),
            lanes_filled: 400_000,
            lanes_asked_again: 3,
            lanes_disagreements: 0,
        },
        slices: 5,
        warm_up: 10_000,
        offered_per_second: None,
        latency_us: Latency {
            p50: 900.0,
            p90: 12_000.0,
            p99: 110_000.0,
            p999: 1.2e6,
            max: 1.5e6,
        },
        syncs_per_second: 250.0,
        records_per_sync: 72.3,
        peak_rss_bytes: Some(64 << 20),
        anonymous_rss_bytes: Some(40 << 20),
        cores: 2,
        driver_cores: Some(0.04),
        engine_threads: 2,
        signer: "software P-256".to_owned(),
        durable: true,
    }
}

#[test]
fn json_has_the_documented_keys() {
    let json = serde_json::to_value(report()).unwrap();
    let object = json.as_object().unwrap();
    for key in [
        "certificates",
        "existing",
        "rejected",
        "seconds",
        "certificates_per_second",
        "certificates_per_hour",
        "limit_per_second",
        "scalar_limit_per_second",
        "ratio_to_limit",
        "ratio_to_scalar_limit",
        "verification",
        "lane_occupancy",
        "lanes_filled",
        "lanes_asked_again",
        "lanes_disagreements",
        "latency_us",
        "syncs_per_second",
        "records_per_sync",
        "peak_rss_bytes",
        "cores",
        "signer",
        "durable",
    ] {
        assert!(object.contains_key(key), "{key}");
    }
    let mut latency: Vec<&String> = object["latency_us"].as_object().unwrap().keys().collect();
    latency.sort();
    assert_eq!(latency, ["max", "p50", "p90", "p99", "p999"]);
}

#[test]
fn the_text_is_aligned_and_names_units() {
    let text = report().to_string();
    assert_eq!(
            text,
            "\
certificates      200,000
rejected          0
time              10.50 s in 5 slices, after 10,000 to warm up
rate              18,095/s   65.1 M/h
limit             20,500/s   (cryptography alone, 2 threads)
scalar limit      8,200/s   (with aws-lc-rs alone)
ratio to limit    0.883   (0.850 to 0.910)
ratio to scalar   2.207
processor time    104.2 µs a certificate   (limit 95.8 µs: ratio 0.919, to scalar 2.200)
busy elsewhere    0.31 cores   (other programs; trust the processor time, not the rates)
latency           p50 0.900 ms   p90 12.0 ms   p99 110.0 ms   p99.9 1.20 s   max 1.50 s
log               250 syncs/s   72.3 records per sync
peak memory       64.0 MiB
cores             2   (0.04 generated the load)
signer            software P-256
verification      8 lanes (AVX-512 IFMA)   (98.8 % of the lanes filled, 3 asked again, 0 disagreements)
durable           yes
"
        );
}

#[test]
fn without_lanes_the_text_says_that_there_is_one_loop() {
    let mut report = report();
    report.limit_has_lanes = Some(false);
    report.scalar_limit_per_second = report.limit_per_second;
    report.verification = "scalar (aws-lc-rs)";
    report.lanes = Lanes::default();
    let text = report.to_string();
    assert!(text.contains("scalar limit      20,500/s   (the same loop: no lanes)\n"));
    assert!(text.contains("verification      scalar (aws-lc-rs)\n"));
}

#[test]
fn one_failure_of_any_kind_is_not_clean() {
    assert!(report().is_clean());
    for spoil in [
        |report: &mut Report| report.rejected = 1,
        |report: &mut Report| report.faults = 1,
        |report: &mut Report| report.unfinished = 1,
        |report: &mut Report| report.unexpected = 1,
        |report: &mut Report| report.doubled = 1,
        |report: &mut Report| report.digest_mismatches = 1,
    ] {
        let mut report = report();
        spoil(&mut report);
        assert!(!report.is_clean(), "{report}");
    }
}

#[test]
fn digits_are_grouped() {
    for (number, text) in [
        (0, "0"),
        (999, "999"),
        (1000, "1,000"),
        (1_234_567, "1,234,567"),
    ] {
        assert_eq!(grouped(number), text);
    }
}
