//! One line of JSON per request.

use birthmark_engine::device_key::KeyDelivery;
use birthmark_engine::{Fault, IssueStatus, Issued, Rejection};
use serde::Serialize;

use crate::hex;
use crate::input::InputRejection;

/// One result line. The order of the fields is the order of the keys.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    input: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl<'a> Line<'a> {
    /// A certificate, new or the one of an earlier request. It is durable: nothing else can be
    /// in `issued`.
    pub(super) fn issued(input: &'a str, issued: &Issued) -> Line<'a> {
        let status = match issued.status {
            IssueStatus::Issued => "issued",
            IssueStatus::Existing => "existing",
        };
        let (key, key_state) = match &issued.key {
            Some(KeyDelivery::Encrypted(key)) => (Some(key.to_pem()), None),
            Some(KeyDelivery::Acknowledged) => (None, Some("acknowledged")),
            Some(_) => (None, Some("not-kept")),
            None => (None, None),
        };
        Line {
            serial: Some(hex::encode(issued.certificate.serial())),
            index: Some(issued.certificate.index()),
            certificate: Some(issued.certificate.to_pem()),
            key,
            key_state,
            ..Line::empty(input, status)
        }
    }

    /// The engine refused the request.
    pub(super) fn rejected(input: &'a str, rejection: &Rejection) -> Line<'a> {
        Line {
            reason: Some(rejection.reason()),
            number: Some(rejection.number()),
            rule: Some(rejection.rule()),
            action: Some(rejection.action().to_string()),
            detail: Some(rejection.detail()),
            ..Line::empty(input, "rejected")
        }
    }

    /// The input was not a request.
    pub(super) fn refused(input: &'a str, rejection: &InputRejection) -> Line<'a> {
        Line {
            reason: Some(rejection.reason()),
            number: Some(rejection.number()),
            rule: Some(rejection.rule()),
            action: Some(rejection.action().to_string()),
            detail: Some(rejection.to_string()),
            ..Line::empty(input, "rejected")
        }
    }

    /// The system failed this request.
    pub(super) fn fault(input: &'a str, fault: &Fault) -> Line<'a> {
        Line {
            reason: Some(fault.reason()),
            number: Some(fault.number()),
            action: Some(fault.action().to_string()),
            detail: Some(fault.to_string()),
            ..Line::empty(input, "fault")
        }
    }

    fn empty(input: &'a str, status: &'static str) -> Line<'a> {
        Line {
            input,
            status,
            serial: None,
            index: None,
            certificate: None,
            key: None,
            key_state: None,
            reason: None,
            number: None,
            rule: None,
            action: None,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_input_has_exactly_the_documented_keys() {
        let line = Line::refused("a\"b", &InputRejection::Empty);
        let expected = concat!(
            r#"{"input":"a\"b","status":"rejected","reason":"empty","number":100,"#,
            r#""rule":"RFC 2986 §4","action":"REWORK","detail":"the input is empty"}"#
        );
        assert_eq!(serde_json::to_string(&line).unwrap(), expected);
    }
}
