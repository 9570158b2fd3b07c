//! What the shell is told.

use std::process::ExitCode;

use wattle_edge::command::words;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_apart_from_a_failure() {
        assert_eq!(code_of(Ok(())), ExitCode::SUCCESS);
        assert_eq!(code_of(Err(anyhow::anyhow!("the disk is full"))), ExitCode::from(1));
        assert_eq!(code_of(Err(Usage("no such folder".into()).into())), ExitCode::from(2));
    }
}
