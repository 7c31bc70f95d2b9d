//! Comma-separated values (RFC 4180).

/// Adds one line.
///
/// A cell that begins with `=`, `+`, `-`, `@`, tab or carriage return would be a formula to a
/// spreadsheet, and some texts come from devices. It gets a `'` in front, which spreadsheets take for
/// "text"; so does one that begins with `'`, so that dropping one leading `'` gives the value back.
pub(super) fn push_line<'a>(line: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for (position, cell) in cells.into_iter().enumerate() {
        if position > 0 {
            line.push(',');
        }
        push_cell(line, cell);
    }
    line.push_str("\r\n");
}

fn push_cell(line: &mut String, cell: &str) {
    let guarded = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']);
    let quoted = cell.contains(['"', ',', '\r', '\n']);
    if quoted {
        line.push('"');
    }
    if guarded {
        line.push('\'');
    }
    if quoted {
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let mut line = String::new();
        push_line(
            &mut line,
            ["plain", "", "a,b", "say \"hi\"", "two\r\nlines", "Ä"],
        );
        assert_eq!(
            line,
            "plain,,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",Ä\r\n"
        );
        line.clear();
        push_line(
            &mut line,
            ["=1+1", "+1", "-1", "@x", "\tx", "'x", "x=1", "=\"a\""],
        );
        assert_eq!(line, "'=1+1,'+1,'-1,'@x,'\tx,''x,x=1,\"'=\"\"a\"\"\"\r\n");
    }
}
