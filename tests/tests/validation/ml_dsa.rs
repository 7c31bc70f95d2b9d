//! ML-DSA as others write it: a CA's own certificate in the form of RFC 9881's examples, and a request.

use birthmark_engine::lint::{IssuerView, Options, Severity, lint};
use birthmark_engine::{IssueStatus, Request};
use birthmark_hsm::KeyAlgorithm;
use birthmark_tests::authority::{Authority, from_pem};
use birthmark_tests::oracle::Oracles;

#[test]
fn certificates_and_requests_of_others_are_taken_and_changed_ones_are_not() {
    let made = Oracles::get().make_ml_dsa();
    assert_eq!(made.len(), 3);
    let authority = Authority::new(KeyAlgorithm::EcP256);
    authority.accept_every_key("idevid");
    let engine = authority.open();
    for (ca, request) in &made {
        let ca = from_pem(ca);
        let issuer = IssuerView::from_der(&ca).unwrap();
        let found = |der: &[u8]| -> Vec<_> {
            let options = Options {
                issuer: Some(&issuer),
                ..Options::default()
            };
            let findings = lint(der, &options).into_iter();
            findings
                .map(|finding| (finding.rule.severity, finding.rule.id))
                .collect()
        };
        // RFC 9881's examples, too, have SHAKE256 over the key there, which neither RFC 5280 nor RFC 7093 names.
        assert_eq!(found(&ca), [(Severity::Notice, "ski-derived")]);
        let mut changed = ca.clone();
        *changed.last_mut().unwrap() ^= 1;
        let wrong = (Severity::Error, "issuer-signature");
        assert!(found(&changed).contains(&wrong), "{:?}", found(&changed));

        let request = from_pem(request);
        let mut changed = request.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(engine.issue(Request::new(changed, "idevid")).is_err());
        let issued = engine.issue(Request::new(request, "idevid")).unwrap();
        assert_eq!(issued.status, IssueStatus::Issued);
    }
    engine.close().unwrap();
}
