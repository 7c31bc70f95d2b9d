//! The certificate's signature on both paths, and what is told of the lanes.

use std::sync::Mutex;

use super::*;

/// Keeps what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<EngineEvent>>);

impl EngineObserver for Heard {
    fn event(&self, event: &EngineEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

#[test]
fn each_disagreement_is_told_once() {
    let heard = Arc::new(Heard::default());
    let verifier = SignatureVerifier {
        verifier: p256x8::Verifier::scalar(),
        issuer: None,
        observer: Some(heard.clone()),
        lanes_pay: AtomicBool::new(false),
        told: AtomicU64::new(0),
    };
    for count in [0, 1, 1, 3, 3] {
        verifier.tell(count);
    }
    let told: Vec<EngineEvent> = heard.0.lock().unwrap().clone();
    let expected = [1, 3].map(|count| EngineEvent::Disagreement { count });
    assert_eq!(told, expected);
    let text = told[0].to_string();
    assert!(text.starts_with("1 valid signatures") && text.contains("scalar"));
}

#[test]
fn the_words_of_the_configuration() {
    assert_eq!("auto".parse(), Ok(Verification::Auto));
    assert_eq!("scalar".parse(), Ok(Verification::Scalar));
    assert_eq!("Scalar".parse::<Verification>(), Err(UnknownVerification));
    assert!(!has_lanes(&Verification::Scalar.verifier()));
}
