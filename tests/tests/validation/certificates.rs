//! Each single fault of a certificate is caught by the linter, by the rule that it breaks.

use std::collections::BTreeSet;

use birthmark_engine::lint::{RULES, Severity};
use birthmark_tests::authority::{Base, World};
use birthmark_tests::certificate_fault::CertificateFault;

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
