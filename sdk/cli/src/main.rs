//! `wattle`: see the library for what each subcommand does.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use wattle::output::Output;
use wattle::{bill, demo, exit, policy, receipt, replay, signal, simulate, sql, status};

/// Share a site's power among its chargers: ask the lake, write bills, look after nodes.
#[derive(Parser)]
#[command(
    name = "wattle",
    version,
    after_help = "Examples:
  wattle demo
  wattle status
  wattle sql \"SELECT device, sum(energy_wh) / 1000.0 AS kwh FROM sessions GROUP BY device\"
  wattle help policy deploy

Exit codes: 0 done, 1 failed, 2 a command line or configuration that can't be used."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sql(sql::Args),
    Bill(bill::Args),
    Completions(Completions),
    Demo(demo::Args),
    Explain(replay::explain::Args),
    Policy(policy::Args),
    Receipt(receipt::Args),
    Signal(signal::Args),
    Simulate(simulate::Args),
    Status(status::Args),
}

/// Print a script that lets a shell complete command lines of `wattle`
#[derive(clap::Args)]
#[command(after_help = "Examples:
  wattle completions bash > ~/.local/share/bash-completion/completions/wattle
  wattle completions zsh > ~/.zfunc/_wattle
  wattle completions fish > ~/.config/fish/completions/wattle.fish

Exit codes: 0 done, 2 a shell that isn't known.")]
struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    fn print(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "wattle", &mut script);
        let mut output = Output::open(None)?;
        output.write_all(&script)?;
        output.finish()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    wattle_policy_dev::files::keep_code();
    exit::code_of(match Cli::parse().command {
        Command::Sql(args) => sql::run(args).await,
        Command::Bill(args) => bill::run(args).await,
        Command::Completions(args) => args.print(),
        Command::Demo(args) => demo::run(args).await,
        Command::Explain(args) => replay::explain::run(args).await,
        Command::Policy(args) => policy::run(args).await,
        Command::Receipt(args) => receipt::run(args).await,
        Command::Signal(args) => signal::run(args).await,
        Command::Simulate(args) => simulate::run(args).await,
        Command::Status(args) => status::run(args).await,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_fits_together() {
        Cli::command().debug_assert();
    }

    /// Every command with the words that lead to it.
    fn walk(command: &clap::Command, path: &str, look: &mut impl FnMut(&str, &clap::Command)) {
        look(path, command);
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            walk(below, &format!("{path} {}", below.get_name()), look);
        }
    }

    #[test]
    fn the_help_of_every_command_says_what_it_does_with_an_example_and_the_exit_codes() {
        let mut root = Cli::command();
        root.build();
        let mut lacking = Vec::new();
        walk(&root, "wattle", &mut |path, command| {
            let mut lacks = |what: &str| lacking.push(format!("{path}: {what}"));
            if command.get_about().is_none() {
                lacks("what it does");
            }
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !after.contains("Example") || !after.contains("  wattle ") {
                lacks("an example");
            }
            if !after.contains("Exit codes: ") {
                lacks("exit codes");
            }
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                if argument.get_help().is_none() {
                    lacks(&format!("what {} is", argument.get_id()));
                }
            }
        });
        assert!(lacking.is_empty(), "{lacking:#?}");
    }

    /// Commands without an answer of which a program could make something.
    const WITHOUT_JSON: [(&str, &str); 1] = [("wattle completions", "prints a script for a shell")];

    #[test]
    fn every_command_gives_json_when_asked_to() {
        let mut root = Cli::command();
        root.build();
        let mut lacking = Vec::new();
        walk(&root, "wattle", &mut |path, command| {
            let is_leaf = command.get_subcommands().next().is_none();
            let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            let is_let_off = WITHOUT_JSON.iter().any(|(let_off, _)| *let_off == path);
            if is_leaf && has_json == is_let_off {
                lacking.push(path.to_owned());
            }
        });
        assert!(lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line_that_is_understood() {
        let mut root = Cli::command();
        root.build();
        walk(&root, "wattle", &mut |path, command| {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines = after.lines().filter_map(|line| line.strip_prefix("  wattle "));
            for line in lines.flat_map(|line| line.split("&& wattle ")) {
                let words = words(line);
                if words.first().is_some_and(|word| word == "help") {
                    continue;
                }
                let read =
                    Cli::command().try_get_matches_from(std::iter::once("wattle".to_owned()).chain(words));
                assert!(
                    read.is_ok(),
                    "{path}: {line}: {}",
                    read.err().map(|e| e.to_string()).unwrap_or_default()
                );
            }
        });
    }

    /// The words of a line as a shell makes them, up to what is no argument: a redirection, another command, a remark.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), None::<String>, false, false);
        let line = line.split("      ").next().unwrap_or_default();
        for c in line.chars() {
            match c {
                _ if escaped => {
                    word.get_or_insert_default().push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        let end =
            words.iter().position(|word| matches!(word.as_str(), ">" | "|" | "&&")).unwrap_or(words.len());
        words.truncate(end);
        words
    }

    #[test]
    fn each_shell_gets_a_script_that_knows_the_commands() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "wattle", &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["backtest", "rollback", "edge-id", "completions"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
