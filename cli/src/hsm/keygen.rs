//! `birthmark hsm keygen`: a key pair on a token, and what the token then says of it.

use std::fmt::Write as _;

use birthmark_hsm::{KeyAttribute, KeyReport, generate_reported_key_pair};
use serde_json::{Value, json};

use super::args::HsmKeygenArguments;
use super::{HsmError, Marks, pin, uri, write_result};
use crate::ceremony::public_key_sha256;
use crate::command::Exit;
use crate::console::Console;
use crate::hex;

/// Longest id taken, in bytes: tokens differ in what they keep, and all known ones keep this.
const ID_BYTES_MAX: usize = 64;

pub(super) fn run(
    arguments: &HsmKeygenArguments,
    console: &mut Console<'_>,
) -> Result<Exit, HsmError> {
    let mut uri = uri(&arguments.uri)?;
    if let Some(id) = &arguments.id {
        let id = hex::decode(id).filter(|id| id.len() <= ID_BYTES_MAX);
        uri = uri.with_id(&id.ok_or(HsmError::Id { max: ID_BYTES_MAX })?)?;
    }
    let uri = pin::with_pin(uri, Marks::OfUser)?;
    let report = generate_reported_key_pair(&uri, arguments.algorithm)?;
    write_result(
        console,
        arguments.json,
        &to_json(&report),
        &to_text(&report),
    )?;
    if report.is_imported() {
        console.note(format_args!(
            "warning: the token does not say that it made the key itself (CKA_LOCAL): copies may exist \
             elsewhere"
        ));
    }
    let wrong = report.not_as_asked();
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    let wrong: Vec<String> = wrong.into_iter().map(describe).collect();
    Err(HsmError::NotAsAsked {
        label: report.label,
        wrong: wrong.join(", "),
    })
}

fn to_json(report: &KeyReport) -> Value {
    let attribute = |attribute: &KeyAttribute| {
        json!({
            "name": attribute.name,
            "value": attribute.value,
            "wanted": attribute.wanted,
            "as_asked": attribute.is_as_asked(),
        })
    };
    let attributes: Vec<Value> = report.attributes.iter().map(attribute).collect();
    json!({
        "token": report.token,
        "label": report.label,
        "id": hex::encode(&report.id),
        "algorithm": report.public_key.algorithm().map(|algorithm| algorithm.name()),
        "public_key_sha256": public_key_sha256(&report.public_key),
        "imported": report.is_imported(),
        "uses": report.uses.map(|uses| json!({ "count": uses.count, "limit": uses.limit })),
        "attributes": attributes,
    })
}

fn to_text(report: &KeyReport) -> String {
    let algorithm = report.public_key.algorithm();
    let mut text = format!(
        "token         {}\nkey           {}\nid            {}\nalgorithm     {}\npublic key    SHA-256 {}\n",
        report.token,
        report.label,
        hex::encode(&report.id),
        algorithm.map_or("unknown", |algorithm| algorithm.title()),
        public_key_sha256(&report.public_key).unwrap_or_default(),
    );
    if let Some(uses) = report.uses {
        let _ = writeln!(text, "uses          {} of {}", uses.count, uses.limit);
    }
    for line in attribute_lines(report) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Every attribute in a line of its own, as the token tells it.
fn attribute_lines(report: &KeyReport) -> Vec<String> {
    let attributes = report.attributes.iter();
    attributes
        .map(|attribute| {
            let value = attribute.value.as_deref().unwrap_or("not told");
            let remark = match attribute.wanted {
                Some(wanted) if !attribute.is_as_asked() => {
                    format!("   WRONG: {wanted} was asked for")
                }
                _ => String::new(),
            };
            format!("{:<24} {value}{remark}", attribute.name)
        })
        .collect()
}

fn describe(attribute: &KeyAttribute) -> String {
    let value = attribute.value.as_deref().unwrap_or("not told");
    let wanted = attribute.wanted.unwrap_or("anything");
    format!("{} is {value} and should be {wanted}", attribute.name)
}
