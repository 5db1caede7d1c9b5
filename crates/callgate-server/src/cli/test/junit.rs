//! Results in the JUnit format, which continuous integration systems read.

use std::fmt::Write;

use super::{Suite, Verdict};

/// The report.
pub(super) fn report(suites: &[Suite]) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let count = |failed: bool| {
        let verdicts = suites.iter().flat_map(|suite| &suite.verdicts);
        verdicts.filter(|verdict| !failed || !verdict.passed()).count()
    };
    let _ = writeln!(
        xml,
        "<testsuites name=\"callgate test\" tests=\"{}\" failures=\"{}\" errors=\"0\">",
        count(false),
        count(true)
    );
    for suite in suites {
        write_suite(&mut xml, suite);
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn write_suite(xml: &mut String, Suite { file, verdicts }: &Suite) {
    let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
    let name = escape(file);
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">",
        verdicts.len()
    );
    for verdict in verdicts {
        write_case(xml, &name, verdict);
    }
    xml.push_str("  </testsuite>\n");
}

fn write_case(xml: &mut String, file: &str, verdict: &Verdict) {
    let seconds = verdict.took.as_secs_f64();
    let line = verdict.line.map(|line| format!(" line=\"{line}\"")).unwrap_or_default();
    let _ = write!(
        xml,
        "    <testcase classname=\"{file}\" name=\"{}\" file=\"{file}\"{line} time=\"{seconds:.9}\"",
        escape(&verdict.name)
    );
    if verdict.passed() {
        xml.push_str("/>\n");
        return;
    }
    xml.push_str(">\n");
    for failure in &verdict.failures {
        let _ = writeln!(
            xml,
            "      <failure message=\"{}\">{}</failure>",
            escape(failure),
            escape(&verdict.because.join("\n"))
        );
    }
    xml.push_str("    </testcase>\n");
}

/// Text for an attribute or an element. Characters that XML does not allow are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => escaped.push('\u{FFFD}'),
            c => escaped.push(c),
        }
    }
    escaped
}
