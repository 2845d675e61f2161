//! The command line, parsed: a command, settings, its own options, perhaps one text. Nothing is looked up or started here.
//!
//! Messages name options but never repeat a value whole: a key may stand in the wrong place.

use super::commands::{COMMANDS, Command, Own};
use crate::settings::{Kind, Origin, Setting, Settings, nearest, quoted};
use lexopt::{Arg, Parser};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What the command line asks for.
pub(super) enum Request {
    Version,
    Help(Option<&'static Command>),
    Run(Invocation),
}

/// A command with all it was given.
pub(super) struct Invocation {
    pub command: &'static Command,
    pub settings: Settings,
    /// The arguments that are no options.
    pub texts: Vec<String>,
    /// A program to start and its arguments.
    pub program: Vec<OsString>,
    own: BTreeMap<&'static str, String>,
}

impl Invocation {
    /// Whether this option without a value was given.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.own.contains_key(flag)
    }

    /// The value of this option.
    pub(super) fn value(&self, flag: &str) -> Option<&str> {
        self.own.get(flag).map(String::as_str)
    }

    /// The value of this option as a whole number in a range.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number(&self, flag: &str, most: u64) -> Result<Option<u64>, String> {
        let Some(text) = self.value(flag) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number <= most => Ok(Some(number)),
            _ => Err(format!("--{flag}: must be a whole number from 0 to {most}, not {}", quoted(text))),
        }
    }
}

/// A command line that can't be understood.
pub(super) struct Usage {
    pub why: String,
    command: Option<&'static Command>,
}

impl Usage {
    /// The help to read.
    pub(super) fn try_instead(&self) -> String {
        match self.command {
            Some(command) => format!("iron-runtime {} --help", command.name),
            None => "iron-runtime --help".into(),
        }
    }
}

/// Parses the arguments, the program's name not among them.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Usage> {
    let mut parser = Parser::from_args(args);
    let usage = |why: String| Usage { why, command: None };
    match parser.next().map_err(|error| usage(describe(&error)))? {
        None => Err(usage("a command is missing".into())),
        Some(Arg::Long("help") | Arg::Short('h')) => Ok(Request::Help(None)),
        Some(Arg::Long("version") | Arg::Short('V')) => Ok(Request::Version),
        Some(Arg::Value(name)) if name == "help" => help_on(&mut parser),
        Some(Arg::Value(name)) => {
            let command = find(&name.to_string_lossy())?;
            options(command, parser).map_err(|why| Usage { why, command: Some(command) })
        }
        Some(Arg::Long(_) | Arg::Short(_)) => Err(usage("the command comes first: iron-runtime COMMAND [OPTIONS]".into())),
    }
}

/// `iron-runtime help [COMMAND]`.
fn help_on(parser: &mut Parser) -> Result<Request, Usage> {
    match parser.next() {
        Ok(Some(Arg::Value(name))) => find(&name.to_string_lossy()).map(|command| Request::Help(Some(command))),
        _ => Ok(Request::Help(None)),
    }
}

fn find(name: &str) -> Result<&'static Command, Usage> {
    Command::named(name).ok_or_else(|| {
        let near = nearest(name, COMMANDS.iter().map(|command| command.name));
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        Usage { why: format!("unknown command {}{hint}", quoted(name)), command: None }
    })
}

/// What follows the command's name.
fn options(command: &'static Command, mut parser: Parser) -> Result<Request, String> {
    let mut found = Invocation { command, settings: Settings::default(), texts: Vec::new(), program: Vec::new(), own: BTreeMap::new() };
    loop {
        let name = match parser.next().map_err(|error| describe(&error))? {
            None => return Ok(Request::Run(found)),
            Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Request::Help(Some(command))),
            Some(Arg::Long("version") | Arg::Short('V')) => return Ok(Request::Version),
            Some(Arg::Value(name)) if command.operands.program => {
                // All that follows is the program's own, whatever it looks like.
                found.program.push(name);
                found.program.extend(parser.raw_args().map_err(|error| describe(&error))?);
                return Ok(Request::Run(found));
            }
            Some(Arg::Value(value)) => {
                operand(&mut found, value)?;
                continue;
            }
            Some(Arg::Short(letter)) => {
                let own = command.own.iter().find(|own| own.short == Some(letter));
                own.map(|own| own.flag.to_string()).ok_or_else(|| format!("unknown option -{letter}"))?
            }
            Some(Arg::Long(name)) => name.to_string(),
        };
        if let Some(own) = command.own.iter().find(|own| own.flag == name) {
            own_option(&mut found, own, &mut parser)?;
        } else if let Some(setting) = command.settings().find(|setting| setting.flag()[2..] == name) {
            let value = match (setting.kind, parser.optional_value()) {
                (_, Some(value)) => text(&setting.flag(), Ok(value))?,
                (Kind::Switch, None) => "true".into(),
                (_, None) => text(&setting.flag(), parser.value())?,
            };
            found.settings.set(setting, value, Origin::Flag).map_err(|error| error.to_string())?;
        } else {
            return Err(unknown(command, &name));
        }
    }
}

fn operand(found: &mut Invocation, value: OsString) -> Result<(), String> {
    let value = value.into_string().map_err(|_| "an argument is not UTF-8 text".to_string())?;
    let operands = &found.command.operands;
    if found.texts.len() < operands.most {
        found.texts.push(value);
        return Ok(());
    }
    match operands.most {
        1 => Err(format!("more than one {}: put it in quotes", operands.shown)),
        _ => Err(format!("unexpected argument {}", quoted(&value))),
    }
}

fn own_option(found: &mut Invocation, own: &'static Own, parser: &mut Parser) -> Result<(), String> {
    let value = match own.value {
        Some(_) => text(&format!("--{}", own.flag), parser.value())?,
        None => String::new(),
    };
    found.own.insert(own.flag, value);
    Ok(())
}

fn text(flag: &str, value: Result<OsString, lexopt::Error>) -> Result<String, String> {
    let value = value.map_err(|_| format!("{flag}: its value is missing"))?;
    value.into_string().map_err(|_| format!("{flag}: its value is not UTF-8 text"))
}

/// `unknown option --prot; did you mean --port?`
fn unknown(command: &'static Command, name: &str) -> String {
    let shown = quoted(name);
    let shown = if shown.starts_with('"') { format!("--{name}") } else { shown };
    if Setting::named(name).is_some_and(|setting| setting.flag()[2..] == *name) {
        return format!("{} takes no {shown}", command.name);
    }
    let flags: Vec<String> = command.settings().map(|setting| setting.flag()[2..].to_string()).collect();
    let candidates = flags.iter().map(String::as_str).chain(command.own.iter().map(|own| own.flag)).chain(["help", "version"]);
    match nearest(&name.replace('_', "-"), candidates) {
        Some(near) => format!("unknown option {shown}; did you mean --{near}?"),
        None => format!("unknown option {shown}"),
    }
}

/// The parser's complaint without the value it complains about.
fn describe(error: &lexopt::Error) -> String {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option}: takes no value"),
        lexopt::Error::MissingValue { option: Some(option) } => format!("{option}: its value is missing"),
        lexopt::Error::NonUnicodeValue(_) => "an argument is not UTF-8 text".into(),
        _ => "the arguments can't be understood".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(args: &[&str]) -> String {
        match parse(args.iter().map(OsString::from)) {
            Err(usage) => usage.why,
            Ok(_) => "understood".into(),
        }
    }

    fn run(args: &[&str]) -> Invocation {
        match parse(args.iter().map(OsString::from)) {
            Ok(Request::Run(invocation)) => invocation,
            Ok(_) => panic!("{args:?}: not a run"),
            Err(usage) => panic!("{args:?}: {}", usage.why),
        }
    }

    #[test]
    fn complaints() {
        for (args, want) in [
            (&[][..], "a command is missing"),
            (&["--port", "1"], "the command comes first: iron-runtime COMMAND [OPTIONS]"),
            (&["sevre"], "unknown command \"sevre\"; did you mean serve?"),
            (&["rapport"], "unknown command \"rapport\"; did you mean report?"),
            (&["control"], "unknown command \"control\""),
            (&["serve", "--prot", "1"], "unknown option --prot; did you mean --port?"),
            (&["serve", "--max_body_bytes", "1"], "unknown option --max_body_bytes; did you mean --max-body-bytes?"),
            (&["serve", "--bugdet", "1"], "unknown option --bugdet; did you mean --budget?"),
            (&["report", "prices", "a", "b"], "unexpected argument \"b\""),
            (&["report", "--port", "1"], "report takes no --port"),
            (&["run", "-z", "--", "true"], "unknown option -z"),
            (&["serve", "--pii", "off"], "unknown option --pii"),
            (&["serve", "-x"], "unknown option -x"),
            (&["serve", "--port"], "--port: its value is missing"),
            (&["serve", "--strict-translation", "--port"], "--port: its value is missing"),
            (&["serve", "--strict-translation=no"], "--strict-translation: must be true or false, not \"no\""),
            (&["serve", "--port", "x"], "--port: must be a port, 0 to 65535, not \"x\""),
            (&["serve", "now"], "unexpected argument \"now\""),
            (&["serve", "sk-secret"], "unexpected argument (a value that looks like a key)"),
            (&["serve", "--sk-secret"], "unknown option (a value that looks like a key)"),
            (&["mock", "--openai-key", "k"], "mock takes no --openai-key"),
            (&["ask", "--port", "1"], "ask takes no --port"),
            (&["ask", "a", "b"], "more than one TEXT: put it in quotes"),
            (&["ask", "--stream=yes", "a"], "--stream: takes no value"),
            (&["demo", "--onse"], "unknown option --onse; did you mean --once?"),
        ] {
            assert_eq!(why(args), want, "{args:?}");
        }
    }

    #[test]
    fn a_command_with_its_options() {
        let ask = run(&["ask", "-mgpt-4o", "--stream", "--", "--why?"]);
        assert_eq!(
            (ask.value("model"), ask.has("stream"), ask.has("json"), ask.texts.as_slice()),
            (Some("gpt-4o"), true, false, &["--why?".to_string()][..])
        );
        assert_eq!(run(&["ask", "-"]).texts, ["-"]);
        for args in [&["run", "--quiet", "--", "sh", "-c", "--", "--quiet"][..], &["run", "-q", "sh", "-c", "--", "--quiet"]] {
            let program = run(args);
            assert!(program.has("quiet") && program.program == ["sh", "-c", "--", "--quiet"], "{args:?}");
        }
        assert!(run(&["run", "--mock"]).program.is_empty());
        let serve = run(&["serve", "--port=8080", "--allow-host", "a", "--allow-host", "b"]);
        assert_eq!(serve.settings.origin("port"), Some(&Origin::Flag));
        let mock = run(&["mock", "--events", "12", "--latency-ms", "x"]);
        assert_eq!(mock.number("events", 100), Ok(Some(12)));
        assert_eq!(mock.number("events", 10).err().as_deref(), Some("--events: must be a whole number from 0 to 10, not \"12\""));
        assert!(mock.number("latency-ms", 10).is_err() && mock.number("spacing-ms", 10) == Ok(None));
    }

    #[test]
    fn help_and_version_anywhere() {
        for args in [&["--help"][..], &["-h"], &["help"]] {
            assert!(matches!(parse(args.iter().map(OsString::from)), Ok(Request::Help(None))), "{args:?}");
        }
        for args in [&["serve", "--help"][..], &["help", "serve"], &["serve", "--port", "1", "-h"]] {
            assert!(matches!(parse(args.iter().map(OsString::from)), Ok(Request::Help(Some(_)))), "{args:?}");
        }
        for args in [&["--version"][..], &["-V"], &["serve", "--version"]] {
            assert!(matches!(parse(args.iter().map(OsString::from)), Ok(Request::Version)), "{args:?}");
        }
    }
}
