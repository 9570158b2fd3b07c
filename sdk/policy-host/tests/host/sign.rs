//! Who may decide: signatures, and the ring of keys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wattle_policy_host::sign::{KeyRing, PrivateKey, SignError, signature_path, signed_by};

const COMPONENT: &[u8] = b"the bytes of a component";

/// A folder with a ring of one key, and a component that the key has signed.
struct Signed {
    folder: tempfile::TempDir,
    key: PrivateKey,
    component: PathBuf,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let key = PrivateKey::generate().expect("a key");
        fs::create_dir(folder.path().join("keys")).expect("made");
        key.write(&folder.path().join("a.key"), &folder.path().join("keys/anna.pub")).expect("written");
        let component = folder.path().join("p.wasm");
        fs::write(&component, COMPONENT).expect("written");
        fs::write(signature_path(&component), key.sign(COMPONENT)).expect("written");
        Self { folder, key, component }
    }

    fn ring(&self) -> KeyRing {
        KeyRing::read(&self.folder.path().join("keys")).expect("a ring")
    }

    fn refused(&self, bytes: &[u8]) -> String {
        self.ring().verify(&self.component, bytes).expect_err("not trusted").to_string()
    }
}

#[test]
fn what_a_key_of_the_ring_has_signed_is_trusted() {
    let signed = Signed::new();
    let (name, id) = signed.ring().verify(&signed.component, COMPONENT).expect("trusted");
    assert_eq!((name.as_str(), id), ("anna", signed.key.id()));
    assert_eq!(signed_by(&signed.component).expect("a signature"), Some(id));
}

#[test]
fn a_component_without_a_signature_is_told_what_it_lacks() {
    let signed = Signed::new();
    fs::remove_file(signature_path(&signed.component)).expect("removed");
    let told = signed.refused(COMPONENT);
    assert!(told.contains("p.wasm is not signed: there is no "), "{told}");
    assert!(told.contains("wattle policy sign"), "{told}");
    assert_eq!(signed_by(&signed.component).expect("no signature"), None);
}

#[test]
fn a_component_that_another_key_has_signed_is_told_by_which() {
    let signed = Signed::new();
    let other = PrivateKey::generate().expect("a key");
    fs::write(signature_path(&signed.component), other.sign(COMPONENT)).expect("written");
    let told = signed.refused(COMPONENT);
    let expected = format!(
        "is signed by the key {}, which this ring doesn't hold (anna {})",
        other.id(),
        signed.key.id()
    );
    assert!(told.contains(&expected), "{told}");
    // Whoever writes a trusted key's id over it gains nothing.
    let forged = other.sign(COMPONENT).replace(&other.id().to_string(), &signed.key.id().to_string());
    fs::write(signature_path(&signed.component), forged).expect("written");
    assert!(signed.refused(COMPONENT).contains("doesn't fit these bytes"));
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let signed = Signed::new();
    for at in 0..COMPONENT.len() {
        let mut changed = COMPONENT.to_vec();
        changed[at] ^= 1;
        assert!(signed.refused(&changed).contains("doesn't fit these bytes"), "byte {at}");
    }
    assert!(signed.refused(&COMPONENT[1..]).contains("the component was changed"));
}

#[test]
fn what_is_no_signature_is_named() {
    let signed = Signed::new();
    let whole = signed.key.sign(COMPONENT);
    let damaged = [
        "",
        "rubbish",
        &whole[..40],
        &whole[..whole.len() - 2],
        &whole.replace(" 1\n", " 2\n"),
        &"x".repeat(5_000),
    ];
    for text in damaged {
        fs::write(signature_path(&signed.component), text).expect("written");
        let told = signed.refused(COMPONENT);
        assert!(told.contains("p.wasm.sig: this is no signature"), "{told}");
    }
}

#[test]
fn a_host_admits_what_its_ring_trusts() {
    let signed = Signed::new();
    let host = crate::common::host();
    let admit =
        |host: &wattle_policy_host::Host| host.admit(&signed.component, COMPONENT).map_err(|e| e.to_string());
    assert_eq!(admit(&host), Ok(None), "without a ring everything may decide");
    let (strict, lax) = (host.clone().trusting(signed.ring(), false), host.trusting(signed.ring(), true));
    assert_eq!((admit(&strict), admit(&lax)), (Ok(Some(signed.key.id())), Ok(Some(signed.key.id()))));
    fs::write(signature_path(&signed.component), PrivateKey::generate().expect("a key").sign(COMPONENT))
        .expect("written");
    assert!(admit(&strict).is_err() && admit(&lax).is_err(), "a wrong signature is worse than none");
    fs::remove_file(signature_path(&signed.component)).expect("removed");
    assert!(admit(&strict).expect_err("refused").contains("is not signed"));
    assert_eq!(admit(&lax), Ok(None));
}

#[test]
fn a_private_key_is_for_its_owner_alone() {
    let signed = Signed::new();
    let path = signed.folder.path().join("a.key");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(PrivateKey::read(&path).expect("a key").id(), signed.key.id());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
    let told = PrivateKey::read(&path).expect_err("exposed").to_string();
    assert!(told.contains("others may read this private key; run `chmod 600 "), "{told}");
    // A public key is for all to read.
    let public = signed.folder.path().join("keys/anna.pub");
    let told = PrivateKey::read(&public).expect_err("public").to_string();
    assert!(told.contains("anna.pub: this is no private key"), "{told}");
}

#[test]
fn no_key_is_written_over_another() {
    let signed = Signed::new();
    let (private, public) = (signed.folder.path().join("a.key"), signed.folder.path().join("new.pub"));
    assert!(matches!(signed.key.write(&private, &public), Err(SignError::Io { .. })));
    assert!(!public.exists(), "no half of a pair is left");
}

#[test]
fn a_ring_with_a_damaged_key_is_refused_by_its_name() {
    let signed = Signed::new();
    let keys = signed.folder.path().join("keys");
    let zero = format!("wattle-policy-public-key 1\n{}\n", "0".repeat(64));
    for text in ["", "wattle-policy-public-key 1\nxyz\n", &zero] {
        fs::write(keys.join("bad.pub"), text).expect("written");
        let told = KeyRing::read(&keys).expect_err("damaged").to_string();
        assert!(told.contains("bad.pub: this is no public key"), "{told}");
    }
    fs::rename(keys.join("bad.pub"), keys.join("bad.txt")).expect("moved");
    assert_eq!(KeyRing::read(&keys).expect("a ring").len(), 1);
    let nowhere = KeyRing::read(Path::new("/nowhere/keys")).expect_err("not there").to_string();
    assert!(nowhere.starts_with("/nowhere/keys: "), "{nowhere}");
}
