//! What is loaded and what isn't.

use crate::common::{component, host};
use wasm_encoder::{CustomSection, Encode, Section};
use wattle_policy_host::{Host, Limits, LoadError, RunError};

#[test]
fn a_policy_says_who_it_is() {
    let bytes = component("equal-share");
    let policy = host().load(&bytes).expect("sound");
    assert_eq!(policy.name(), "equal-share");
    assert_eq!(policy.version(), "0.1.0");
    assert!(policy.description().needs.is_empty());
    assert!(policy.description().settings_schema.starts_with('{'));
    assert_eq!(policy.digest(), host().load(&bytes).expect("sound").digest());
}

#[test]
fn a_policy_tells_the_faults_of_its_settings() {
    let policy = crate::common::load("equal-share");
    assert_eq!(policy.validate_settings("{}"), Ok(Vec::new()));
    let faults = policy.validate_settings(r#"{"share":1}"#).expect("it answers");
    assert_eq!(faults, [r#"settings: `{"share":1}` is not empty; this policy takes no settings"#]);
}

#[test]
fn a_component_beyond_the_size_is_not_even_parsed() {
    let host = Host::new(Limits { component_bytes: 1000, ..Limits::default() }).expect("runs");
    let error = host.load(&[0; 1001]).expect_err("too large");
    assert_eq!(error, LoadError::TooLarge { size: 1001, limit: 1000 });
}

#[test]
fn a_core_module_is_told_from_a_component() {
    refused(&wasm_encoder::Module::new().finish(), |e| matches!(e, LoadError::CoreModule));
}

#[test]
fn what_is_no_webassembly_is_refused() {
    for bytes in [&b""[..], b"\0asm", b"\x7fELF", &[0; 100], "policy: équité".as_bytes()] {
        refused(bytes, |e| matches!(e, LoadError::Malformed(_)));
    }
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    let whole = component("equal-share");
    let cuts = (1..64).map(|n| whole.len() * n / 64).chain(whole.len() - 40..whole.len());
    for cut in cuts {
        refused(&whole[..cut], |e| matches!(e, LoadError::Malformed(_) | LoadError::NoStamp));
    }
}

#[test]
fn a_component_without_a_stamp_is_refused() {
    refused(&wasm_encoder::Component::new().finish(), |e| matches!(e, LoadError::NoStamp));
    // A stamp inside, on the module, is not one on the component.
    let mut module = wasm_encoder::Module::new();
    module.section(&stamp(b"1"));
    let mut nested = wasm_encoder::Component::new();
    nested.section(&wasm_encoder::ModuleSection(&module));
    refused(&nested.finish(), |e| matches!(e, LoadError::NoStamp));
}

#[test]
fn an_interface_version_that_is_not_known_is_refused_before_the_compiler_sees_it() {
    for version in [&b"2"[..], b"", b"1.0", b"\xff", &[b'1'; 5000]] {
        let mut component = wasm_encoder::Component::new();
        component.section(&stamp(version));
        let mut bytes = component.finish();
        // Not valid behind the stamp: a compiler would say so.
        append(&mut bytes, 3, &[0xff; 10]);
        refused(&bytes, |e| matches!(e, LoadError::UnknownVersion(_) | LoadError::Malformed(_)));
    }
    let mut twice = component("equal-share");
    append_stamp(&mut twice, b"1");
    refused(&twice, |e| matches!(e, LoadError::UnknownVersion(version) if version == "1 and 1"));
    let mut next = wasm_encoder::Component::new().finish();
    append_stamp(&mut next, b"2");
    let error = host().load(&next).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "the component is made for version \"2\" of the policy interface; this host runs 1: build it with the SDK of \
         this version of Wattle, or update the edge node"
    );
}

#[test]
fn an_import_other_than_the_log_is_refused_by_its_name() {
    for name in ["wasi:clocks/wall-clock@0.2.0", "wattle:load-policy/log@2.0.0", "net"] {
        let mut types = wasm_encoder::ComponentTypeSection::new();
        types.instance(&wasm_encoder::InstanceType::new());
        let mut imports = wasm_encoder::ComponentImportSection::new();
        imports.import(name, wasm_encoder::ComponentTypeRef::Instance(0));
        let mut component = wasm_encoder::Component::new();
        component.section(&types).section(&imports).section(&stamp(b"1"));
        refused(&component.finish(), |e| *e == LoadError::ForbiddenImport(name.into()));
    }
}

#[test]
fn a_component_without_the_functions_of_the_interface_is_refused() {
    let mut component = wasm_encoder::Component::new();
    component.section(&stamp(b"1"));
    refused(&component.finish(), |e| matches!(e, LoadError::Interface(text) if text.contains("describe")));
}

#[test]
fn a_changed_byte_never_brings_the_host_down() {
    let whole = component("hostile");
    let host = host();
    for n in 0..40 {
        let mut bytes = whole.clone();
        let at = whole.len() * n / 40;
        bytes[at] ^= 0x55;
        // Refused or loaded: either is fine, as long as it returns.
        let _ = host.load(&bytes);
    }
}

#[test]
fn a_policy_that_can_not_even_start_in_its_limits_is_not_loaded() {
    let starved =
        |limits| Host::new(limits).expect("runs").load(&component("equal-share")).expect_err("starved");
    let error = starved(Limits { memory_bytes: 64 << 10, ..Limits::default() });
    assert_eq!(error, LoadError::Describe(RunError::OutOfMemory(64 << 10)));
    let error = starved(Limits { fuel: 10, ..Limits::default() });
    assert_eq!(error, LoadError::Describe(RunError::OutOfFuel(10)));
}

fn stamp(version: &[u8]) -> CustomSection<'_> {
    CustomSection { name: "wattle:load-policy".into(), data: version.into() }
}

fn append_stamp(component: &mut Vec<u8>, version: &[u8]) {
    let section = stamp(version);
    component.push(section.id());
    section.encode(component);
}

fn append(component: &mut Vec<u8>, section: u8, content: &[u8]) {
    component.push(section);
    content.encode(component);
}

fn refused(bytes: &[u8], expected: impl Fn(&LoadError) -> bool) {
    let error = host().load(bytes).expect_err("not a policy");
    assert!(expected(&error), "{error:?}");
}
