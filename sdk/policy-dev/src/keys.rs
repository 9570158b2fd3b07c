//! `wattle policy keygen`, `sign` and `verify`: who stands behind a component.

use std::path::{Path, PathBuf};

use serde_json::json;
use wattle_policy_host::sign::{KeyRing, PrivateKey, SignError, signature_path};

use crate::{Usage, files};

/// Make a pair of keys to sign policies with
///
/// Writes NAME.key, which only you may read and which signs, and NAME.pub, which goes into the `policy_keys` folder of each edge node
/// that shall run what you sign. Neither is written over a file that is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  wattle policy keygen anna && sudo cp anna.pub /etc/wattle/policy-keys/

Exit codes: 0 done, 2 a file that can't be written.")]
pub struct KeygenArgs {
    /// Where the keys go, without their endings
    #[arg(value_name = "NAME")]
    name: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Sign a component: writes FILE.wasm.sig beside it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  wattle policy sign my-policy.wasm --key anna.key

Exit codes: 0 done, 2 a key or a component that can't be used.")]
pub struct SignArgs {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The private key, as `wattle policy keygen` writes it
    #[arg(long, value_name = "FILE.key")]
    key: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Check that a component was signed by one of the keys
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy verify my-policy.wasm --keys /etc/wattle/policy-keys
  wattle policy verify my-policy.wasm --keys anna.pub

Exit codes: 0 signed by one of them, 1 not, 2 keys or a component that can't be used.")]
pub struct VerifyArgs {
    /// The component; its signature is looked for beside it
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// A public key, or a folder of them
    #[arg(long, value_name = "DIR|FILE.pub")]
    keys: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Makes a pair of keys.
///
/// # Errors
/// [`Usage`] when a file is there already or can't be written.
pub fn keygen(args: &KeygenArgs) -> anyhow::Result<()> {
    let (private, public) = (args.name.with_added_extension("key"), args.name.with_added_extension("pub"));
    let key = PrivateKey::generate().map_err(usage)?;
    key.write(&private, &public).map_err(|error| match error {
        SignError::Io { path, source } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            files::unusable(&path, &"there is a key already, which is not written over; give another name")
                .into()
        }
        error => usage(error),
    })?;
    if args.json {
        println!("{}", json!({ "private": private, "public": public, "id": key.id().to_string() }));
        return Ok(());
    }
    println!("{}: private, for you alone; signs policies", private.display());
    println!(
        "{}: public, id {}; goes into the `policy_keys` folder of edge nodes",
        public.display(),
        key.id()
    );
    Ok(())
}

/// Signs a component.
///
/// # Errors
/// [`Usage`] when the key or the component can't be used.
pub fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let key = PrivateKey::read(&args.key).map_err(usage)?;
    let bytes = files::read(&args.file)?;
    // A signature under what no node would load helps nobody.
    let policy = files::load(&files::host()?, &args.file, &bytes)?;
    let path = signature_path(&args.file);
    files::write(&path, key.sign(&bytes).as_bytes())?;
    if args.json {
        let (name, version) = (policy.name(), policy.version());
        println!(
            "{}",
            json!({ "signature": path, "name": name, "version": version, "key": key.id().to_string() })
        );
        return Ok(());
    }
    println!("{}: {} {}, signed by the key {}", path.display(), policy.name(), policy.version(), key.id());
    Ok(())
}

/// Verifies a component.
///
/// # Errors
/// When it wasn't signed by one of the keys; [`Usage`] when they or it can't be used.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let bytes = files::read(&args.file)?;
    let ring = ring(&args.keys).map_err(usage)?;
    let (name, id) = ring.verify(&args.file, &bytes).map_err(|error| match error {
        SignError::Unsigned(path) => {
            anyhow::anyhow!(
                "{} is not signed: there is no {}",
                path.display(),
                signature_path(&path).display()
            )
        }
        other => other.into(),
    })?;
    if args.json {
        println!("{}", json!({ "file": args.file, "signed_by": name, "key": id.to_string() }));
        return Ok(());
    }
    println!("{}: signed by {name} (the key {id})", args.file.display());
    Ok(())
}

fn ring(path: &Path) -> Result<KeyRing, SignError> {
    if path.is_dir() {
        return KeyRing::read(path);
    }
    let mut ring = KeyRing::default();
    ring.add(path)?;
    Ok(ring)
}

fn usage(error: SignError) -> anyhow::Error {
    Usage(error.to_string()).into()
}
