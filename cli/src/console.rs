//! Where a command writes: results to one stream, everything for people to the other.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// The two output streams of a command.
pub struct Console<'a> {
    /// Results.
    pub out: &'a mut dyn Write,
    /// Progress, summaries and errors.
    pub err: &'a mut dyn Write,
    /// Whether a progress bar may be drawn on standard error: it is a terminal.
    pub progress: bool,
    /// Whether `out` is a terminal, where lines of results and a bar would get mixed up.
    pub out_is_terminal: bool,
}

impl Console<'_> {
    /// A line for the person, on standard error. That it cannot be written is no reason to stop.
    pub fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.err, "{line}");
        let _ = self.err.flush();
    }

    /// Writes a result for a program, or the same for a person.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn result(
        &mut self,
        json: bool,
        value: &impl Serialize,
        text: &str,
    ) -> io::Result<()> {
        if json {
            let text = serde_json::to_string_pretty(value)? + "\n";
            self.out.write_all(text.as_bytes())?;
        } else {
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    /// A progress bar; invisible when none is allowed. `total` in `unit`s, if it is known.
    #[must_use]
    pub fn bar(&self, what: &str, unit: &str, total: Option<u64>) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {human_pos}/{human_len} UNIT  {per_sec}  {eta} left",
            None => "{msg} {spinner} {human_pos} UNIT  {per_sec}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(&template.replace("UNIT", unit)) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// A number with thousands separated, as people read it.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
