//! Which checker catches which single fault: the table in `docs/MUTATIONS.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use birthmark_engine::lint::Severity;

use crate::authority::{Base, World};
use crate::certificate_fault::CertificateFault;
use crate::oracle::{Case, Oracles, Tool};

/// One fault and who catches it.
pub struct Row {
    fault: &'static CertificateFault,
    /// The rule of this project's linter that finds it.
    ours: Option<&'static str>,
    /// The tools that say something about the certificate with the fault that they do not say about the one
    /// without.
    others: BTreeSet<Tool>,
}

/// Has this project's linter judge every fault, and the other checkers too if there are any.
#[must_use]
pub fn rows(world: &World, oracles: Option<&Oracles>) -> Vec<Row> {
    let others = oracles.map(|oracles| caught_by_others(world, oracles));
    CertificateFault::all()
        .map(|fault| Row {
            fault,
            ours: caught_by_us(world, fault),
            others: others
                .as_ref()
                .map_or_else(BTreeSet::new, |others| others[fault.name].clone()),
        })
        .collect()
}

/// The first of the fault's rules that the linter finds broken.
fn caught_by_us(world: &World, fault: &CertificateFault) -> Option<&'static str> {
    let found = world.lint(fault.base, &fault.apply(world));
    let weighty = |finding: &&birthmark_engine::lint::Finding| {
        finding.rule.severity > Severity::Notice && fault.rules.contains(&finding.rule.id)
    };
    found.iter().find(weighty).map(|finding| finding.rule.id)
}

fn caught_by_others(world: &World, oracles: &Oracles) -> BTreeMap<&'static str, BTreeSet<Tool>> {
    let case = |name: &str, base: Base, certificate: Vec<u8>| Case {
        name: name.to_owned(),
        certificate,
        authority: world.authority(base),
        by_root: base == Base::IssuingCa,
    };
    let good = Base::ALL
        .into_iter()
        .map(|base| case(base.name(), base, world.good(base).to_vec()));
    let bad = CertificateFault::all().map(|fault| case(fault.name, fault.base, fault.apply(world)));
    let verdicts = oracles.judge(&good.chain(bad).collect::<Vec<_>>());
    let said = |name: &str, tool| &verdicts[&(name.to_owned(), tool)];
    CertificateFault::all()
        .map(|fault| {
            let caught = Tool::ALL
                .into_iter()
                .filter(|tool| !said(fault.name, *tool).is_subset(said(fault.base.name(), *tool)));
            (fault.name, caught.collect())
        })
        .collect()
}

const HEAD: &str = "# Single faults of certificates, and who catches them

Each line is one fault put into a good certificate, which is signed again wherever the fault allows it, so that nothing else is wrong. A
checker catches it (●) if it says something that it does not say about the good certificate: a warning or an error. `birthmark lint` has
to do it by the rule in its column. This page is written by a command, and a test holds it against the linter:

```
cargo run --package birthmark-tests --example mutation_table > docs/MUTATIONS.md
```

The others are pkilint 0.13.3 (its RFC 5280 linter), zlint 3.6.2 (without the rules for the web and for mail), `openssl verify
-x509_strict` 3.0, GnuTLS 3.7 (`certtool --verify`) and pyca/cryptography 50 (every field, the signature and the path). They are
made for other questions: pkilint and zlint are not told the issuer, OpenSSL and GnuTLS verify paths, and none of them knows the profile
that a certificate was issued by, so that faults against `profile` are not theirs to find.
";

/// The whole page.
#[must_use]
pub fn page(rows: &[Row]) -> String {
    let mut out = HEAD.to_owned();
    let count = |tool| rows.iter().filter(|row| row.others.contains(&tool)).count();
    let ours = rows.iter().filter(|row| row.ours.is_some()).count();
    let _ = write!(out, "\n| | birthmark lint |");
    for tool in Tool::ALL {
        let _ = write!(out, " {} |", tool.name());
    }
    let _ = write!(out, "\n| --- | --- |{}", " --- |".repeat(Tool::ALL.len()));
    let _ = write!(out, "\n| caught of {} | {ours} |", rows.len());
    for tool in Tool::ALL {
        let _ = write!(out, " {} |", count(tool));
    }
    let _ = write!(out, "\n\n| fault | in | source | birthmark lint |");
    for tool in Tool::ALL {
        let _ = write!(out, " {} |", tool.name());
    }
    let _ = writeln!(
        out,
        "\n| --- | --- | --- | --- |{}",
        " --- |".repeat(Tool::ALL.len())
    );
    for row in rows {
        let _ = write!(out, "{}", own_columns(row));
        for tool in Tool::ALL {
            let mark = if row.others.contains(&tool) {
                "●"
            } else {
                ""
            };
            let _ = write!(out, " {mark} |");
        }
        out.push('\n');
    }
    out
}

/// What a row says without the other checkers: the start of its line.
#[must_use]
pub fn own_columns(row: &Row) -> String {
    let Row { fault, ours, .. } = row;
    let ours = ours.map_or_else(String::new, |rule| format!("`{rule}`"));
    let (name, base, source) = (fault.name, fault.base.name(), fault.source);
    format!("| {name} | {base} | {source} | {ours} |")
}
