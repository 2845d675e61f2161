//! `doctor`: says what would go wrong, why, and how to mend it. It looks at the same settings as `serve` and reaches providers by the
//! product's own client, without a key: nothing is spent. Keys are shown by their beginning and last four characters at most.

mod keys;
mod money;
mod network;
mod surroundings;

use super::args::Invocation;
use super::console::{Console, Paint};
use super::{FAILED, OK, explain};
use crate::error::Error;
use crate::settings::{Checked, Outside, Settings};
use serde_json::json;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, but not as well or as safely as it could.
    Warning,
    /// It would fail.
    Problem,
}

/// One check's finding.
#[derive(Debug)]
struct Finding {
    name: String,
    verdict: Verdict,
    what: String,
    /// What to do about it; empty when nothing is to be done.
    mend: String,
}

/// All findings so far.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, name: &str, what: impl Into<String>) {
        self.add(name, Verdict::Ok, what.into(), "");
    }

    fn warning(&mut self, name: &str, what: impl Into<String>, mend: &str) {
        self.add(name, Verdict::Warning, what.into(), mend);
    }

    fn problem(&mut self, name: &str, what: impl Into<String>, mend: &str) {
        self.add(name, Verdict::Problem, what.into(), mend);
    }

    /// A finding; the same one twice says nothing new.
    fn add(&mut self, name: &str, verdict: Verdict, what: String, mend: &str) {
        if !self.findings.iter().any(|finding| finding.verdict != Verdict::Ok && finding.what == what) {
            self.findings.push(Finding { name: name.into(), verdict, what, mend: mend.into() });
        }
    }

    /// An error of the settings, in the words of the command line.
    fn error(&mut self, name: &str, error: &Error) {
        let why = explain(error).0;
        self.problem(name, why.strip_prefix(&format!("{name}: ")).unwrap_or(&why), "");
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let mut report = Report::default();
    if let Some(checked) = settings(&invocation.settings, outside, &mut report) {
        network::check(&checked, &mut report);
    }
    surroundings::check(outside, &mut report);
    surroundings::check_variable_names(std::env::vars_os().map(|(name, _)| name), &mut report);
    if invocation.has("json") {
        console.line(&as_json(&report).to_string());
    } else {
        tell(&report, console);
    }
    if report.count(Verdict::Problem) == 0 { OK } else { FAILED }
}

/// Settings, keys and files; the config to try the network with, if there is one.
fn settings(given: &Settings, outside: &Outside<'_>, report: &mut Report) -> Option<Checked> {
    let mut settings = match given.clone().complete(outside) {
        Ok(settings) => settings,
        Err(error) => {
            report.error("settings", &error);
            return None;
        }
    };
    settings.keep_usual_ledger(outside);
    keys::check(&settings, outside, report);
    match settings.check(outside) {
        Ok(checked) => {
            let names: Vec<&str> = checked.config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
            let mode = if checked.config.control.is_some() { "server mode" } else { "direct mode" };
            report.ok("settings", format!("{mode}; providers: {}", names.join(", ")));
            keys::check_token(&checked, report);
            money::check(&settings, &checked, outside, report);
            Some(checked)
        }
        Err(error) => {
            report.error("settings", &error);
            None
        }
    }
}

fn tell(report: &Report, console: &mut Console) {
    for finding in &report.findings {
        let (paint, word) = match finding.verdict {
            Verdict::Ok => (Paint::Good, "ok"),
            Verdict::Warning => (Paint::Warning, "warning"),
            Verdict::Problem => (Paint::Bad, "problem"),
        };
        let word = console.paint(paint, &format!("{word:<8}"));
        let mend = if finding.mend.is_empty() { String::new() } else { format!("; to mend it: {}", finding.mend) };
        console.line(&format!("{word} {}: {}{mend}", finding.name, finding.what));
    }
    let (problems, warnings) = (report.count(Verdict::Problem), report.count(Verdict::Warning));
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    console.line(&format!("\n{}, {}", plural(problems, "problem"), plural(warnings, "warning")));
}

fn as_json(report: &Report) -> serde_json::Value {
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    };
    let checks: Vec<_> = report
        .findings
        .iter()
        .map(|f| json!({ "name": f.name, "status": word(f.verdict), "what": f.what, "mend": (!f.mend.is_empty()).then_some(&f.mend) }))
        .collect();
    json!({
        "ok": report.count(Verdict::Problem) == 0,
        "problems": report.count(Verdict::Problem),
        "warnings": report.count(Verdict::Warning),
        "checks": checks,
    })
}
