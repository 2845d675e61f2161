//! `--help`, made from the table of commands and the table of settings.

use super::commands::{COMMANDS, Command};
use crate::settings::Setting;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed: a request failed, or doctor found a problem
  2  the command line or the configuration is wrong; nothing was started
  3  the address can't be listened on
  130  stopped at once by a second Ctrl-C or SIGTERM
`run` ends with the code of its program once that was started.";

const PRECEDENCE: &str =
    "Each setting is taken from its option, else its variable, else the config file (same name, - written as _). Only when no key option
and no control server is given anywhere there, IC_TOKEN with IC_SERVER is used, else OPENAI_API_KEY and ANTHROPIC_API_KEY. A key
given beside a control server is used for its provider. KEY is env:NAME, file:PATH or the key itself; the first two keep it out of
the list of processes.";

/// The overview: what it is, its commands.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "A local control point between AI agents and their LLM providers.\n\nUsage: iron-runtime COMMAND [OPTIONS]\n\nCommands:\n",
    );
    for command in COMMANDS {
        text += &format!("  {:<8}{}\n", command.name, command.about);
    }
    text += "\nOptions:\n  -h, --help     of iron-runtime or of a command\n  -V, --version\n\n";
    text += "To begin: `iron-runtime demo` needs no key; `iron-runtime doctor` says what a real start would meet.\n\n";
    text + EXIT_CODES
}

/// The help of one command.
pub(super) fn of_command(command: &Command) -> String {
    let usage = match &command.operands {
        operands if operands.shown.is_empty() => "[OPTIONS]".to_string(),
        operands if operands.program => format!("[OPTIONS] -- {}", operands.shown),
        operands => format!("{} [OPTIONS]", operands.shown),
    };
    let mut text = format!("iron-runtime {}: {}\n\nUsage: iron-runtime {} {usage}\n\n", command.name, command.about, command.name);
    text += command.details;
    text += "\n\nOptions:\n";
    for own in command.own {
        let short = own.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
        let value = own.value.map(|value| format!(" {value}")).unwrap_or_default();
        text += &option(&format!("{short}--{}{value}", own.flag), own.help, "");
    }
    text += &option("-h, --help", "this text", "");
    let settings: Vec<&Setting> = command.settings().collect();
    if !settings.is_empty() {
        text += "\nSettings:\n";
        for setting in settings {
            let flag = format!("{} {}", setting.flag(), setting.kind.placeholder()).trim_end().to_string();
            let about = with_flags(&format!("{} (default: {})", setting.help, setting.default));
            text += &option(&flag, &about, &format!("[{}]", setting.variable));
        }
        text += "\n";
        text += PRECEDENCE;
        text += "\n";
    }
    text + "\n" + EXIT_CODES
}

/// The text with names of settings written as flags.
fn with_flags(text: &str) -> String {
    let as_flag = |word: &str| {
        let name = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        match Setting::named(name) {
            Some(setting) if name.contains('_') => word.replace(name, &setting.flag()),
            _ => word.to_string(),
        }
    };
    text.split(' ').map(as_flag).collect::<Vec<_>>().join(" ")
}

/// An option and what it does, wrapped for a terminal of 100 columns.
fn option(flag: &str, about: &str, variable: &str) -> String {
    const COLUMN: usize = 34;
    const WIDTH: usize = 64;
    let mut text = format!("  {flag:<width$}", width = COLUMN - 2);
    let mut used = if flag.len() + 2 >= COLUMN {
        text += "\n";
        text += &" ".repeat(COLUMN);
        0
    } else {
        0
    };
    for word in about.split(' ').chain([variable].into_iter().filter(|word| !word.is_empty())) {
        if used > 0 && used + 1 + word.chars().count() > WIDTH {
            text += "\n";
            text += &" ".repeat(COLUMN);
            used = 0;
        }
        if used > 0 {
            text.push(' ');
            used += 1;
        }
        text += word;
        used += word.chars().count();
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SETTINGS;

    #[test]
    fn serve_names_every_setting_with_its_variable_and_default() {
        let help = Command::named("serve").map(of_command).unwrap_or_default();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in SETTINGS {
            let about = with_flags(&format!("{} (default: {})", setting.help, setting.default));
            let flag = format!("{} {}", setting.flag(), setting.kind.placeholder());
            let about = format!("{} {about} [{}]", flag.trim_end(), setting.variable);
            assert!(words.contains(&about), "{about}\n{help}");
        }
    }

    #[test]
    fn help_fits_a_terminal_and_tells_the_exit_codes() {
        for help in COMMANDS.iter().map(of_command).chain([overview()]) {
            assert!(help.contains("Exit codes:") && help.contains("130"), "{help}");
            for line in help.lines() {
                assert!(line.chars().count() <= 140, "{line}");
            }
        }
        for command in COMMANDS {
            assert!(overview().contains(command.about));
            for own in command.own {
                assert!(of_command(command).contains(&format!("--{}", own.flag)));
            }
        }
    }
}
