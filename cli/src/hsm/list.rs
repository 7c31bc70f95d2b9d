//! `birthmark hsm list`: modules, slots and tokens as they describe themselves.

use std::fmt::Write as _;
use std::time::Duration;

use birthmark_hsm::{
    MechanismDescription, ModuleDescription, PinState, SessionLimit, SlotDescription,
    TokenDescription, inspect_module, inspect_uri,
};
use serde_json::{Value, json};

use super::args::HsmListArguments;
use super::search::{self, Answer};
use super::{HsmError, uri, write_result};
use crate::command::Exit;
use crate::console::Console;

pub(super) fn run(
    arguments: &HsmListArguments,
    console: &mut Console<'_>,
) -> Result<Exit, HsmError> {
    let modules = match &arguments.uri {
        Some(text) => {
            let uri = uri(text)?;
            let module = inspect_uri(&uri)?;
            if module.slots.is_empty() {
                return Err(HsmError::NoToken {
                    wanted: uri.to_string(),
                    module: module.path.display().to_string(),
                });
            }
            vec![module]
        }
        None if arguments.module.is_empty() => return search_and_list(arguments, console),
        None => {
            let modules = arguments.module.iter();
            modules
                .map(|path| inspect_module(path))
                .collect::<Result<_, _>>()?
        }
    };
    let value = json!({ "modules": modules.iter().map(module_json).collect::<Vec<_>>() });
    let text: Vec<String> = modules.iter().map(module_text).collect();
    write_result(console, arguments.json, &value, &text.join("\n"))?;
    Ok(Exit::Done)
}

/// Lists the modules that this machine has, each asked in a process of its own.
fn search_and_list(
    arguments: &HsmListArguments,
    console: &mut Console<'_>,
) -> Result<Exit, HsmError> {
    let limit = Duration::from_secs(arguments.seconds.into());
    let candidates = search::candidates(&arguments.search)?;
    let bar = console.bar("asking", "modules", Some(candidates.len() as u64));
    let mut answers = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        answers.push(search::ask(candidate, arguments.json, limit)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let usable = |answer: &&Answer| answer.told.is_ok();
    let value = json!({
        "modules": answers.iter().filter_map(usable_json).collect::<Vec<_>>(),
        "not_usable": answers.iter().filter_map(unusable_json).collect::<Vec<_>>(),
    });
    let text: Vec<String> = answers.iter().map(answer_text).collect();
    write_result(console, arguments.json, &value, &text.join("\n"))?;
    Ok(match answers.iter().find(usable) {
        Some(_) => Exit::Done,
        None => Exit::Fault,
    })
}

fn usable_json(answer: &Answer) -> Option<Value> {
    let mut module = search::module_of(answer.told.as_ref().ok()?)?;
    module["named_by"] = named_by_json(answer);
    Some(module)
}

fn unusable_json(answer: &Answer) -> Option<Value> {
    let why = answer.told.as_ref().err()?;
    Some(json!({
        "path": answer.candidate.path.display().to_string(),
        "named_by": named_by_json(answer),
        "why": why,
    }))
}

/// The file of p11-kit's configuration; null: it lies where the vendor puts it.
fn named_by_json(answer: &Answer) -> Value {
    let file = answer.candidate.named_by.as_ref();
    json!(file.map(|file| file.display().to_string()))
}

fn answer_text(answer: &Answer) -> String {
    let named_by = match &answer.candidate.named_by {
        Some(file) => format!("  named by {}\n", file.display()),
        None => String::new(),
    };
    match &answer.told {
        Ok(told) => {
            let (first, rest) = told.split_once('\n').unwrap_or((told, ""));
            format!("{first}\n{named_by}{rest}")
        }
        Err(why) => {
            let path = answer.candidate.path.display();
            format!("module {path}\n{named_by}  NOT USABLE: {why}\n")
        }
    }
}

fn module_json(module: &ModuleDescription) -> Value {
    json!({
        "path": module.path.display().to_string(),
        "manufacturer": module.manufacturer,
        "description": module.description,
        "version": module.version,
        "pkcs11_version": module.cryptoki_version,
        "slots": module.slots.iter().map(slot_json).collect::<Vec<_>>(),
    })
}

fn slot_json(slot: &SlotDescription) -> Value {
    json!({
        "number": slot.number,
        "description": slot.description,
        "token": slot.token.as_ref().map(token_json),
    })
}

fn token_json(token: &TokenDescription) -> Value {
    json!({
        "label": token.label,
        "serial": token.serial,
        "manufacturer": token.manufacturer,
        "model": token.model,
        "hardware_version": token.hardware_version,
        "firmware_version": token.firmware_version,
        "initialized": token.initialized,
        "login_required": token.login_required,
        "user_pin_initialized": token.user_pin_initialized,
        "protected_authentication_path": token.protected_authentication_path,
        "pin": pin_name(token.pin),
        "write_protected": token.write_protected,
        "sessions_max": limit_json(token.sessions_max),
        "sessions_open": token.sessions_open,
        "writing_sessions_max": limit_json(token.writing_sessions_max),
        "writing_sessions_open": token.writing_sessions_open,
        "mechanisms": token.mechanisms.iter().map(mechanism_json).collect::<Vec<_>>(),
    })
}

/// A number, `"unlimited"`, or null where no limit is told.
fn limit_json(limit: SessionLimit) -> Value {
    match limit {
        SessionLimit::Most(most) => json!(most),
        SessionLimit::Unlimited => json!("unlimited"),
        SessionLimit::NotTold => Value::Null,
    }
}

fn mechanism_json(mechanism: &MechanismDescription) -> Value {
    let (smallest, largest) = mechanism.key_size.unzip();
    json!({
        "name": mechanism.name,
        "key_size_min": smallest,
        "key_size_max": largest,
        "hardware": mechanism.hardware,
    })
}

fn pin_name(pin: PinState) -> &'static str {
    match pin {
        PinState::CountLow => "count-low",
        PinState::FinalTry => "final-try",
        PinState::Locked => "locked",
        PinState::ToBeChanged => "to-be-changed",
        _ => "good",
    }
}

fn module_text(module: &ModuleDescription) -> String {
    let mut text = format!(
        "module {}\n  {}, {} {}, PKCS#11 {}\n",
        module.path.display(),
        module.manufacturer,
        module.description,
        module.version,
        module.cryptoki_version,
    );
    if module.slots.is_empty() {
        text.push_str("  no slot\n");
    }
    for slot in &module.slots {
        let _ = writeln!(text, "  slot {}  {}", slot.number, slot.description);
        match &slot.token {
            Some(token) => text.push_str(&token_text(token)),
            None => text.push_str("    no token\n"),
        }
    }
    text
}

fn token_text(token: &TokenDescription) -> String {
    if !token.initialized {
        return "    token not initialized\n".to_owned();
    }
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {name:<13} {value}");
    };
    line("token", &token.label);
    line("serial", &token.serial);
    line("made by", &token.manufacturer);
    line(
        "model",
        &format!(
            "{}, hardware {}, firmware {}",
            token.model, token.hardware_version, token.firmware_version
        ),
    );
    line("login", &login_text(token));
    if token.write_protected {
        line("writing", "write protected: no key can be made");
    }
    let sessions = sessions_text(token.sessions_open, token.sessions_max);
    line("sessions", &sessions);
    let writing = sessions_text(token.writing_sessions_open, token.writing_sessions_max);
    line("  writing", &writing);
    for mechanism in &token.mechanisms {
        let _ = writeln!(text, "    {}", mechanism_text(mechanism));
    }
    if token.mechanisms.is_empty() {
        text.push_str("    no signing mechanism\n");
    }
    text
}

fn login_text(token: &TokenDescription) -> String {
    let mut parts = vec![if token.login_required {
        "required"
    } else {
        "not required"
    }];
    if !token.user_pin_initialized {
        parts.push("no user PIN set");
    }
    if token.protected_authentication_path {
        parts.push("PIN typed on the token");
    }
    parts.extend(match token.pin {
        PinState::CountLow => Some("a wrong PIN was tried since the last login"),
        PinState::FinalTry => Some("ONE TRY LEFT before the PIN locks"),
        PinState::Locked => Some("PIN LOCKED: the security officer has to unlock it"),
        PinState::ToBeChanged => Some("the PIN has to be changed"),
        _ => None,
    });
    parts.join("; ")
}

fn sessions_text(open: Option<u64>, limit: SessionLimit) -> String {
    let open = open.map_or("open: not told".to_owned(), |open| format!("{open} open"));
    match limit {
        SessionLimit::Most(most) => format!("{open}, at most {most}"),
        SessionLimit::Unlimited => format!("{open}, no limit"),
        SessionLimit::NotTold => format!("{open}, no limit told"),
    }
}

fn mechanism_text(mechanism: &MechanismDescription) -> String {
    let size = match mechanism.key_size {
        Some((smallest, largest)) if smallest == largest => format!("{smallest}"),
        Some((smallest, largest)) => format!("{smallest} to {largest}"),
        None => "key sizes not told".to_owned(),
    };
    let hardware = if mechanism.hardware { ", hardware" } else { "" };
    format!("{:<28} {size}{hardware}", mechanism.name)
}
