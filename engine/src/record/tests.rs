use super::*;
use proptest::prelude::*;

fn issued<'a>(data: BTreeMap<&'a str, &'a str>, certificate: &'a [u8]) -> IssuedRecord<'a> {
    IssuedRecord {
        time_ms: u64::MAX,
        issuer: &[1; 20],
        profile: "idevid",
        profile_digest: &[2; 32],
        lot: Some("lot-7"),
        requester: None,
        request_id: &[3; 32],
        key_fingerprint: &[4; 32],
        identity: Some("SN-1"),
        replaces: None,
        data,
        certificate,
    }
}

#[test]
fn the_time_stands_where_the_log_writes_it() {
    let lost = LostRecord {
        time_ms: 0,
        issuer: &[0; 20],
        serial: &[1],
        tbs_digest: &[2; 32],
    };
    let activated = activated("operator", "");
    for bytes in [
        issued(BTreeMap::new(), &[5; 500]).encode(),
        lost.encode(),
        activated.encode(),
    ] {
        assert_eq!(bytes[3], 0x1b);
        assert_eq!(bytes[4..12], [0xff; 8]);
    }
}

#[test]
fn activations_come_back_with_a_signer_of_bounded_length() {
    let signer = "é".repeat(3000);
    let record = activated("m-of-n", &signer);
    let kept = ActivatedRecord {
        signer: &signer[..SIGNER_BYTES_MAX],
        ..record.clone()
    };
    let mut bytes = record.encode();
    assert_eq!(Record::decode(&bytes), Ok(Record::Activated(kept)));
    bytes.push(0);
    assert!(Record::decode(&bytes).is_err());
}

fn activated<'a>(activation: &'a str, signer: &'a str) -> ActivatedRecord<'a> {
    ActivatedRecord {
        time_ms: u64::MAX,
        issuer: &[1; 20],
        activation,
        signer,
    }
}

#[test]
fn the_largest_fixed_parts_fit_their_bound() {
    let (domain, digest, name) = ("d".repeat(64), "0".repeat(64), "p".repeat(64));
    let data = BTreeMap::from([
        (DATA_KEY_DOMAIN, domain.as_str()),
        (DATA_IDENTITY_DOMAIN, domain.as_str()),
        (DATA_PERMIT, digest.as_str()),
        (DATA_RESIDENCY, "unproven"),
        (DATA_KEY, KEY_GENERATED),
        (DATA_LOT_NUMBER, "18446744073709551615"),
    ]);
    let (lot, line) = ("l".repeat(128), "r".repeat(128));
    let identity = "i".repeat(256);
    let record = IssuedRecord {
        profile: &name,
        lot: Some(&lot),
        requester: Some(&line),
        identity: Some(&identity),
        replaces: Some(u64::MAX),
        ..issued(data, &[5; 5_000])
    };
    let none = BTreeMap::new();
    let max = IssuedRecord::bytes_max(
        &name,
        Some(&lot),
        Some(&line),
        Some(&identity),
        &none,
        5_000,
    );
    assert!(record.encode().len() <= max);
}

#[test]
fn data_keys_are_in_deterministic_order() {
    let bytes = issued(BTreeMap::from([("aa", "1"), ("b", "2")]), &[]).encode();
    let at = |key: &[u8]| {
        bytes
            .windows(key.len())
            .position(|window| window == key)
            .unwrap()
    };
    assert!(at(b"\x61b") < at(b"\x62aa"));
}

#[test]
fn unknown_kinds_are_kept() {
    let bytes = [0x84, 0x09, 0x01, 0x1b, 0, 0, 1, 0, 0, 0, 0, 0, 0x60];
    assert_eq!(
        Record::decode(&bytes),
        Ok(Record::Other {
            kind: 9,
            version: 1,
            time_ms: Some(1 << 40)
        })
    );
}

proptest! {
    #[test]
    fn records_read_back(
        data in proptest::collection::btree_map(".{0,9}", ".{0,9}", 0..5),
        certificate in proptest::collection::vec(any::<u8>(), 0..999),
    ) {
        let data = data.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let record = issued(data, &certificate);
        let owned = record.data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let bytes = record.encode();
        prop_assert!(bytes.len() <= IssuedRecord::bytes_max(
            "idevid", Some("lot-7"), None, Some("SN-1"), &owned, certificate.len()));
        prop_assert_eq!(Record::decode(&bytes).unwrap(), Record::Issued(record));
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }
}
