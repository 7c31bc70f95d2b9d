//! `birthmark log witness`.

use std::path::Path;
use std::thread;

use birthmark_engine::{Configuration, WitnessAddress};
use birthmark_log::keep::{Witness, WitnessError, WitnessReport, push_checkpoint};
use serde_json::json;

use super::args::WitnessArguments;
use super::http::HttpWitness;
use super::{KeepError, write_result};
use crate::command::{Exit, one_line};
use crate::console::{Console, grouped};
use crate::records::log_directory;

pub(super) fn run(
    arguments: &WitnessArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let dir = log_directory(&arguments.dir);
    let mut addresses = arguments.witness.clone();
    if let Some(path) = &arguments.config {
        addresses.extend(Configuration::load(path)?.witnesses().iter().cloned());
    }
    if addresses.is_empty() {
        return Err(KeepError::NoWitness);
    }
    let clients = addresses
        .iter()
        .map(|address| HttpWitness::new(&address.url))
        .collect::<Result<Vec<_>, _>>()?;
    loop {
        match once(&dir, &addresses, &clients, arguments, console) {
            done if arguments.once => return done,
            Ok(_) => {}
            // Nothing published yet, or a fault that may be over the next time.
            Err(KeepError::Witness(error)) if !error.is_stop() => {
                console.note(format_args!("warning: {}", one_line(&error)));
            }
            Err(error) => return Err(error),
        }
        thread::sleep(arguments.interval);
    }
}

fn once(
    dir: &Path,
    addresses: &[WitnessAddress],
    clients: &[HttpWitness],
    arguments: &WitnessArguments,
    console: &mut Console<'_>,
) -> Result<Exit, KeepError> {
    let witnesses: Vec<_> = addresses
        .iter()
        .zip(clients)
        .map(|(address, client)| Witness {
            key: address.key.clone(),
            client,
        })
        .collect();
    let report = push_checkpoint(dir, &witnesses)?;
    say(&report, arguments, console)?;
    let mut exit = Exit::Done;
    let mut stop: Option<WitnessError> = None;
    for (_, error) in report.failed {
        if error.is_stop() && stop.is_none() {
            // All were asked by now.
            stop = Some(error);
        } else {
            console.note(format_args!("warning: {}", one_line(&error)));
            exit = Exit::Rejected;
        }
    }
    match stop {
        Some(error) => Err(error.into()),
        None => Ok(exit),
    }
}

fn say(
    report: &WitnessReport,
    arguments: &WitnessArguments,
    console: &mut Console<'_>,
) -> Result<(), KeepError> {
    let size = report.checkpoint.size;
    let mut text = String::new();
    for (key, _) in &report.cosigned {
        text.push_str(&format!(
            "{} records cosigned by {}\n",
            grouped(size),
            key.name()
        ));
    }
    let cosigned: Vec<_> = report
        .cosigned
        .iter()
        .map(|(key, time_s)| json!({ "witness": key.name(), "time_s": time_s }))
        .collect();
    let value = json!({
        "origin": report.checkpoint.origin,
        "size": size,
        "root": report.checkpoint.root.to_string(),
        "cosigned": cosigned,
    });
    write_result(console, arguments.json, &value, &text)
}
