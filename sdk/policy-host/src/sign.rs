//! Who stands behind a component: ed25519 signatures, and the ring of keys that a node trusts.
//!
//! A package is the component `x.wasm` and, beside it, the signature `x.wasm.sig`. What is signed is [`DOMAIN`] followed by the
//! SHA-256 of the component, so that a signature made for something else never fits. All three kinds of file are short texts, whose
//! first line is the kind with the version of its layout:
//!
//! ```text
//! wattle-policy-signature 1          wattle-policy-public-key 1        wattle-policy-private-key 1
//! key 1b7f0c9a5d3e2f48               <32 bytes, hexadecimal>           <32 bytes, hexadecimal>
//! signature <64 bytes, hexadecimal>
//! ```
//!
//! A key's id is the first 8 bytes of the SHA-256 of its public half. A ring is a folder of `*.pub` files. It says who may decide;
//! it doesn't say what is good: a signed policy runs inside the same limits, behind the same envelope.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{Digest, hex};

/// What stands before the digest in what is signed.
pub const DOMAIN: &[u8] = b"wattle load policy 1\n";
/// The most keys of a ring.
pub const MOST_KEYS: usize = 100;

const SIGNATURE: &str = "wattle-policy-signature 1";
const PUBLIC: &str = "wattle-policy-public-key 1";
const PRIVATE: &str = "wattle-policy-private-key 1";
/// The longest file that is read.
const MOST_BYTES: u64 = 1024;
const GROUP_AND_OTHERS: u32 = 0o077;

/// Why a key or a signature can't be used, or a component isn't trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file isn't what it should be.
    #[error("{}: this is no {kind} that `wattle policy keygen` or `wattle policy sign` has written", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
    },
    /// Others may read a private key.
    #[error("{}: others may read this private key; run `chmod 600 {}`", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// A ring with more keys than [`MOST_KEYS`].
    #[error("{}: more than {MOST_KEYS} keys; keep those that may sign policies", .0.display())]
    TooManyKeys(PathBuf),
    /// There is no signature beside the component.
    #[error("{} is not signed: there is no {}; sign it with `wattle policy sign`, or set `policy_unsigned = true`", .0.display(), signature_path(.0).display())]
    Unsigned(PathBuf),
    /// Signed by a key that isn't in the ring.
    #[error("{} is signed by the key {key}, which this ring doesn't hold ({known}); add its .pub file, or sign the policy with a key of the ring", path.display())]
    UnknownKey {
        /// The component.
        path: PathBuf,
        /// The signature's key.
        key: KeyId,
        /// The names of the keys that the ring holds.
        known: String,
    },
    /// The signature isn't one of these bytes.
    #[error("{}: the signature by the key {key} doesn't fit these bytes; the component was changed, or its signature belongs to another version", path.display())]
    Mismatch {
        /// The component.
        path: PathBuf,
        /// The signature's key.
        key: KeyId,
    },
}

/// By what a key is called: the first bytes of its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &VerifyingKey) -> Self {
        let digest = Sha256::digest(key.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A key that signs.
pub struct PrivateKey(SigningKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.id())
    }
}

impl PrivateKey {
    /// A new key, from the system's randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<Self, SignError> {
        let source = Path::new("/dev/urandom");
        let mut bytes = [0; 32];
        File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(|e| failed(source, e))?;
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// Reads a key that nobody but its owner may read.
    ///
    /// # Errors
    /// When it can't be read, it is none, or others may read it.
    pub fn read(path: &Path) -> Result<Self, SignError> {
        let bytes = key_bytes(path, PRIVATE, "private key")?;
        let found = fs::metadata(path).map_err(|e| failed(path, e))?;
        if found.mode() & GROUP_AND_OTHERS != 0 {
            return Err(SignError::Exposed(path.into()));
        }
        Ok(Self(SigningKey::from_bytes(&bytes)))
    }

    /// Writes the key for its owner alone to `path`, and its public half to `public`. Neither may be there already.
    ///
    /// # Errors
    /// When one of them is, or can't be written.
    pub fn write(&self, path: &Path, public: &Path) -> Result<(), SignError> {
        let text = |kind, bytes: &[u8; 32]| format!("{kind}\n{}\n", hex(bytes));
        write_new(public, 0o644, &text(PUBLIC, self.0.verifying_key().as_bytes()))?;
        write_new(path, 0o600, &text(PRIVATE, self.0.as_bytes()))
            .inspect_err(|_| drop(fs::remove_file(public)))
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0.verifying_key())
    }

    /// The text of a component's signature file.
    pub fn sign(&self, component: &[u8]) -> String {
        let signature = self.0.sign(&message(component));
        format!("{SIGNATURE}\nkey {}\nsignature {}\n", self.id(), hex(&signature.to_bytes()))
    }
}

/// The keys that may sign, by id, each with the name of its file.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, (String, VerifyingKey)>,
}

impl KeyRing {
    /// Reads every `*.pub` of a folder.
    ///
    /// # Errors
    /// When the folder or a key can't be read; the text names the file.
    pub fn read(folder: &Path) -> Result<Self, SignError> {
        let mut ring = Self::default();
        for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
            let path = entry.map_err(|e| failed(folder, e))?.path();
            if path.extension().is_some_and(|end| end == "pub") {
                ring.add(&path)?;
            }
            if ring.keys.len() > MOST_KEYS {
                return Err(SignError::TooManyKeys(folder.into()));
            }
        }
        Ok(ring)
    }

    /// Adds the key of a file.
    ///
    /// # Errors
    /// When it can't be read or is none.
    pub fn add(&mut self, path: &Path) -> Result<(), SignError> {
        let bytes = key_bytes(path, PUBLIC, "public key")?;
        let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
        let key = key.ok_or(SignError::Malformed { path: path.into(), kind: "public key" })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        self.keys.insert(KeyId::of(&key), (name, key));
        Ok(())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key, so that nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The name and the id of the key that has signed `component`, the bytes of `path`, by the file beside it.
    ///
    /// # Errors
    /// When there is no signature, it is none, its key isn't in the ring, or it doesn't fit.
    pub fn verify(&self, path: &Path, component: &[u8]) -> Result<(String, KeyId), SignError> {
        let (id, signature) = match read_signature(path) {
            Err(SignError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(SignError::Unsigned(path.into()));
            }
            other => other?,
        };
        let Some((name, key)) = self.keys.get(&id) else {
            let names: Vec<_> = self.keys.iter().map(|(id, (name, _))| format!("{name} {id}")).collect();
            let known = if names.is_empty() { "it is empty".into() } else { names.join(", ") };
            return Err(SignError::UnknownKey { path: path.into(), key: id, known });
        };
        match key.verify_strict(&message(component), &signature) {
            Ok(()) => Ok((name.clone(), id)),
            Err(_) => Err(SignError::Mismatch { path: path.into(), key: id }),
        }
    }
}

/// Where the signature of a component stands.
pub fn signature_path(component: &Path) -> PathBuf {
    component.with_added_extension("sig")
}

/// What stands beside a component as its signature, unchecked. None without one, or where that is longer than any.
pub fn signature_text(component: &Path) -> Option<String> {
    read_short(&signature_path(component)).ok()
}

/// The id of the key by which a component says to be signed; it isn't checked. None without a signature.
///
/// # Errors
/// When there is a file that is no signature.
pub fn signed_by(component: &Path) -> Result<Option<KeyId>, SignError> {
    match read_signature(component) {
        Ok((id, _)) => Ok(Some(id)),
        Err(SignError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The SHA-256 of bytes, hexadecimal: of a component as documents name it, of a token as configurations hold it.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn message(component: &[u8]) -> Vec<u8> {
    let digest: Digest = Sha256::digest(component).into();
    [DOMAIN, &digest].concat()
}

fn read_signature(component: &Path) -> Result<(KeyId, Signature), SignError> {
    let path = signature_path(component);
    let text = read_short(&path)?;
    let mut lines = text.lines();
    let mut line = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)).map(str::to_owned);
    let parts = (line(SIGNATURE), line("key "), line("signature "));
    let parsed = match parts {
        (Some(rest), Some(key), Some(signature)) if rest.is_empty() => unhex(&key).zip(unhex(&signature)),
        _ => None,
    };
    let (key, signature) = parsed.ok_or(SignError::Malformed { path, kind: "signature" })?;
    Ok((KeyId(key), Signature::from_bytes(&signature)))
}

fn key_bytes(path: &Path, first_line: &str, kind: &'static str) -> Result<[u8; 32], SignError> {
    let text = read_short(path)?;
    let mut lines = text.lines();
    let bytes = (lines.next() == Some(first_line)).then(|| lines.next().and_then(unhex)).flatten();
    bytes.ok_or(SignError::Malformed { path: path.into(), kind })
}

fn read_short(path: &Path) -> Result<String, SignError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes))
        .map_err(|e| failed(path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SignError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| failed(path, e))
}

fn failed(path: &Path, source: io::Error) -> SignError {
    SignError::Io { path: path.into(), source }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
