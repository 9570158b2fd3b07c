//! `wattle policy token`: the secret with which a person deploys.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use wattle_policy_dev::files::{read_text, unusable};

use crate::Usage;

/// Random bytes of a token.
const BYTES: usize = 32;
/// The longest token that is read, bytes.
const MOST_BYTES: usize = 1024;

/// Make a token to deploy policies with
///
/// Writes the token into FILE, which only you may read and which isn't written over, and prints the line that lets its holder deploy:
/// it goes under [deploy.tokens] into the configuration of the edge nodes or of the fog node, whoever runs them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy token --name anna
  wattle policy token --name anna --file anna.token

Exit codes: 0 done, 2 a file that is there already or can't be written.")]
pub struct Args {
    /// Where the token goes; ~/.config/wattle/token unless given
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Who deploys with it, as nodes record it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Usage`] when the file is there already or can't be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if args.name.is_empty() || !args.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(Usage(format!("--name {:?}: use letters, digits, '-' and '_'", args.name)).into());
    }
    let file = place(args.file.as_deref())?;
    let token = hex(&random()?);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    made.and_then(|mut file| writeln!(file, "{token}").and_then(|()| file.sync_all())).map_err(|error| {
        match error.kind() {
            ErrorKind::AlreadyExists => unusable(
                &file,
                &"there is a token already, which is not written over; name another file with --file",
            ),
            _ => unusable(&file, &error),
        }
    })?;
    let digest = wattle_policy_host::sign::sha256(token.as_bytes());
    if args.json {
        println!("{}", json!({ "file": file, "name": args.name, "sha256": digest }));
    } else {
        println!("{}: private, for you alone", file.display());
        println!("Whoever runs the node adds to its configuration, under [deploy.tokens]:");
        println!("{} = \"{digest}\"", args.name);
    }
    Ok(())
}

/// The file that was named, or the usual one.
///
/// # Errors
/// [`Usage`] where there is no home folder.
pub fn place(named: Option<&Path>) -> Result<PathBuf, Usage> {
    if let Some(file) = named {
        return Ok(file.to_owned());
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Usage("there is no $HOME; name the token's file".into()))?;
    Ok(Path::new(&home).join(".config/wattle/token"))
}

/// The token in a file.
///
/// # Errors
/// [`Usage`] when it can't be read or holds none.
pub fn read(named: Option<&Path>) -> Result<String, Usage> {
    let file = place(named)?;
    let text = read_text(&file).map_err(|error| {
        Usage(format!("{error}; make a token with `wattle policy token`, or name its file with --token"))
    })?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || token.len() > MOST_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable(&file, &"its first line is no token; make one with `wattle policy token`"));
    }
    Ok(token.to_owned())
}

fn random() -> anyhow::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let source = std::fs::File::open("/dev/urandom");
    source.and_then(|mut source| source.read_exact(&mut bytes)).context("the system gives no randomness")?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn args(file: PathBuf, name: &str) -> Args {
        Args { file: Some(file), name: name.into(), json: false }
    }

    #[test]
    fn a_token_is_for_its_owner_alone_is_never_written_over_and_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("new/anna.token");
        run(&args(file.clone(), "anna")).expect("made");
        let token = read(Some(&file)).expect("a token");
        assert_eq!(token.len(), 2 * BYTES);
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let error = run(&args(file.clone(), "anna")).expect_err("it is there");
        assert!(
            error.is::<Usage>() && error.to_string().contains("name another file with --file"),
            "{error}"
        );
        assert_eq!(read(Some(&file)).expect("a token"), token);
        assert!(run(&args(folder.path().join("x"), "a b")).expect_err("no name").is::<Usage>());
    }

    #[test]
    fn what_is_no_token_is_told_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        for text in ["", "\nsecret", "a b"] {
            std::fs::write(&file, text).expect("written");
            assert!(read(Some(&file)).expect_err(text).to_string().contains("wattle policy token"));
        }
        assert!(read(Some(&folder.path().join("none"))).expect_err("none").to_string().contains("--token"));
    }
}
