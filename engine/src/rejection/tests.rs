//! The table of rejections in the documentation and the code say the same.

use std::collections::BTreeSet;

use super::*;

/// The table for people at the line.
const TABLE: &str = include_str!("../../../docs/REJECTIONS.md");

/// One of every kind. [`kinds_are_complete`] does not compile when a kind is new: add it to both.
fn every_kind() -> Vec<Rejection> {
    use Rejection::*;
    let text = String::new;
    let mut all = vec![
        Empty,
        TooLarge { bytes: 1, max: 0 },
        Malformed(""),
        AttributeCount,
        OverLimit(""),
        SignatureAlgorithm,
        ProofOfPossession,
        PssParameters(""),
        SignatureHash(""),
        KeyUnsupported(""),
        KeyNotAllowed {
            profile: text(),
            algorithm: "",
        },
        KeyNotGenerated(text()),
        RsaPolicy(""),
        IssuerKey,
        EcPoint(""),
        RsaSmallFactor { factor: 3 },
        RsaClosePrimes,
        RsaRoca,
        KnownBadKey,
        UnknownProfile(text()),
        FieldCount {
            profile: text(),
            source_field: text(),
            count: 0,
        },
        FieldValue {
            target: text(),
            problem: "",
        },
        RequestsCa,
        DataLimit(""),
        DataValue(""),
        SerialsExhausted { profile: text() },
        CertificateTooLarge {
            bytes: 1,
            limit: "",
            max: 0,
        },
        RequestedExtension {
            extension: text(),
            problem: "",
        },
    ];
    all.extend(of_history());
    all.extend(of_lots());
    all
}

/// Those that come from the station's lots.
fn of_lots() -> Vec<Rejection> {
    let text = String::new;
    let problems = [
        LotProblem::Unknown,
        LotProblem::Closed,
        LotProblem::NotYet(text()),
        LotProblem::Over(text()),
        LotProblem::OtherProfile(text()),
        LotProblem::OtherLine(text()),
        LotProblem::Exhausted { quantity: 1 },
        LotProblem::OtherSerial(text()),
    ];
    let lot = |problem| Rejection::Lot {
        lot: text(),
        problem,
    };
    let mut all = vec![Rejection::LotNeeded];
    all.extend(problems.map(lot));
    all
}

/// Those that come from what the log holds.
fn of_history() -> Vec<Rejection> {
    use Rejection::*;
    let text = String::new;
    let problems = [
        PermitProblem::Malformed(text()),
        PermitProblem::UnknownOfficer,
        PermitProblem::Forged(text()),
        PermitProblem::OtherLog(text()),
        PermitProblem::OtherIssuer(text()),
        PermitProblem::OtherProfile(text()),
        PermitProblem::OtherDevice {
            domain: text(),
            identity: text(),
        },
        PermitProblem::OtherEntry(0),
        PermitProblem::OtherKey(text()),
        PermitProblem::Expired(text()),
    ];
    let (identity, index, by) = (text(), 0, 1);
    let mut all = vec![
        KeyInUse { index },
        IdentityInUse {
            identity: text(),
            index,
        },
        ChangedRequest {
            identity: text(),
            index,
        },
        Superseded { index, by },
        KeyRetired {
            identity: text(),
            index,
            by,
        },
        ReissueLimit {
            identity: text(),
            index,
        },
        PermitNeeded {
            identity,
            index,
            key_fingerprint: text(),
        },
    ];
    all.extend(problems.map(|problem| Permit {
        identity: text(),
        index,
        problem,
    }));
    all
}

#[expect(dead_code, reason = "it is there to be compiled")]
fn kinds_are_complete(rejection: &Rejection) {
    use Rejection::*;
    match rejection {
        Empty | TooLarge { .. } | Malformed(_) | AttributeCount | OverLimit(_) => {}
        SignatureAlgorithm | ProofOfPossession | PssParameters(_) | SignatureHash(_) => {}
        KeyUnsupported(_) | KeyNotAllowed { .. } | KeyNotGenerated(_) => {}
        RsaPolicy(_) | IssuerKey | EcPoint(_) => {}
        RsaSmallFactor { .. } | RsaClosePrimes | RsaRoca | KnownBadKey => {}
        UnknownProfile(_) | FieldCount { .. } | FieldValue { .. } | RequestsCa => {}
        DataLimit(_) | DataValue(_) | RequestedExtension { .. } | SerialsExhausted { .. } => {}
        CertificateTooLarge { .. } => {}
        KeyInUse { .. } | IdentityInUse { .. } | ChangedRequest { .. } | Superseded { .. } => {}
        KeyRetired { .. } | ReissueLimit { .. } | PermitNeeded { .. } | Permit { .. } => {}
        LotNeeded | Lot { .. } => {}
    }
}

#[test]
fn the_table_and_the_code_agree() {
    let row = |rejection: &Rejection| {
        format!(
            "| {} | {} | {} | {} |",
            rejection.number(),
            rejection.reason(),
            rejection.action(),
            rejection.rule()
        )
    };
    let coded: BTreeSet<String> = every_kind().iter().map(row).collect();
    assert_eq!(coded.len(), every_kind().len(), "two kinds are told apart");
    // Other tables of the document have no number in the first column.
    let is_number = |cell: &str| cell.parse::<u16>().is_ok();
    let rows = TABLE.lines().filter(|line| {
        line.strip_prefix("| ")
            .and_then(|cells| cells.split(" | ").next())
            .is_some_and(is_number)
    });
    // The last column is for people.
    let documented: BTreeSet<String> = rows
        .map(|line| {
            let cells: Vec<_> = line.split(" | ").collect();
            assert_eq!(cells.len(), 5, "{line}");
            format!("{} |", cells[..4].join(" | "))
        })
        .collect();
    assert_eq!(documented, coded);
}

#[test]
fn numbers_and_reasons_are_unique() {
    let all = every_kind();
    let numbers: BTreeSet<_> = all.iter().map(Rejection::number).collect();
    let reasons: BTreeSet<_> = all.iter().map(Rejection::reason).collect();
    assert_eq!((numbers.len(), reasons.len()), (all.len(), all.len()));
}
