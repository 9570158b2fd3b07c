//! What the shell is told.

use std::process::ExitCode;

pub use wattle_policy_dev::Usage;

use crate::output::plain;

/// Says on standard error why a command failed, and gives its exit code: 2 for [`Usage`], else 1.
pub fn code_of(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wattle: {}", plain(&words(&error)));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// An error and its causes, without those that it has told already.
fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_apart_from_a_failure() {
        assert_eq!(code_of(Ok(())), ExitCode::SUCCESS);
        assert_eq!(code_of(Err(anyhow::anyhow!("the disk is full"))), ExitCode::from(1));
        assert_eq!(code_of(Err(Usage("no such folder".into()).into())), ExitCode::from(2));
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("the disk is full").context("lake ./lake");
        assert_eq!(words(&error), "lake ./lake: the disk is full");
        let told = error.context("no answer, the disk is full");
        assert_eq!(words(&told), "no answer, the disk is full: lake ./lake");
    }
}
