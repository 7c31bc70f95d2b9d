//! Each single fault of a certificate is caught by the linter, by the rule that it breaks.

use std::collections::BTreeSet;

use birthmark_engine::lint::{RULES, Severity};
use birthmark_tests::authority::{Base, World};
use birthmark_tests::certificate_fault::CertificateFault;
use birthmark_tests::fault_table;

#[test]
fn each_single_fault_is_caught_by_its_rule() {
    let world = World::new();
    let mut problems = Vec::new();
    for fault in CertificateFault::all() {
        let found = world.lint(fault.base, &fault.apply(&world));
        let ids: Vec<_> = found
            .iter()
            .filter(|finding| finding.rule.severity > Severity::Notice)
            .map(|finding| finding.rule.id)
            .collect();
        if !fault.rules.iter().any(|rule| ids.contains(rule)) {
            problems.push(format!("{}: {:?}, found {ids:?}", fault.name, fault.rules));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The page in the docs.
const PAGE: &str = include_str!("../../../docs/MUTATIONS.md");

#[test]
fn the_page_says_of_this_linter_what_is_so() {
    let rows = fault_table::rows(&World::new(), None);
    let start = "| fault | in | source | birthmark lint |";
    let table = PAGE.lines().skip_while(|line| !line.starts_with(start));
    let lines: Vec<_> = table.skip(2).collect();
    assert_eq!(lines.len(), rows.len(), "write docs/MUTATIONS.md anew");
    for (line, row) in lines.into_iter().zip(&rows) {
        let own = fault_table::own_columns(row);
        assert!(line.starts_with(&own), "{own:?} is not what {line:?} says");
    }
    let all = format!("| caught of {0} | {0} |", rows.len());
    assert!(PAGE.contains(&all), "{all:?}");
}

#[test]
fn good_certificates_have_nothing_but_notices() {
    let world = World::new();
    for base in Base::ALL {
        let found = world.lint(base, world.good(base));
        let weighty: Vec<_> = found
            .iter()
            .filter(|finding| finding.rule.severity > Severity::Notice)
            .collect();
        assert!(weighty.is_empty(), "{}: {weighty:?}", base.name());
    }
}

#[test]
fn there_are_enough_faults_each_with_a_name_and_rules_that_exist() {
    let names: Vec<_> = CertificateFault::all().map(|fault| fault.name).collect();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    assert!(names.len() >= 60, "{}", names.len());
    for fault in CertificateFault::all() {
        for rule in fault.rules {
            let exists = RULES.iter().any(|one| one.id == *rule);
            assert!(exists, "{}: there is no rule {rule}", fault.name);
        }
    }
}
