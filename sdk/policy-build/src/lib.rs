//! Makes the core module of a load policy a component.
//!
//! `cargo build --target wasm32-unknown-unknown` gives a core module: functions over numbers and memory, with
//! the interface described in a custom section. [`componentize`] wraps it into a component, whose functions
//! take and give the records of the interface, and carries the stamp of the interface version from the module
//! to the component's own top level, where a host finds it without compiling anything.
//!
//! Leans on no runtime, so that building policies needs only a few small crates.

use anyhow::{Context, Result, bail};
use wasm_encoder::{CustomSection, Encode, Section};
use wasmparser::{Parser, Payload};

/// Name of the custom section that holds the interface version, as text.
pub const STAMP_SECTION: &str = "wattle:load-policy";

/// The newest version of the interface, as it is stamped.
pub const INTERFACE_VERSION: &str = "1";
/// The newest version of the interface, in the language of interfaces.
pub const INTERFACE: &str = include_str!("../../wit/load-policy-v1/load-policy.wit");

/// The component of a core module.
///
/// # Errors
/// When `module` is not a core module, has no stamp or two (so that it wasn't made by `wattle_policy::export!`), or
/// does not fit the interface that it describes.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let stamp = stamp(module)?;
    let mut component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module's interface could not be read; was it built with wattle_policy::export!?")?
        .encode()
        .context("the module does not fit its interface")?;
    append_stamp(&mut component, &stamp);
    Ok(component)
}

/// The component of a core module in any language whose functions have the names and shapes of the interface's lowest form, and
/// which says nothing of it: what a C compiler makes. It gets the stamp of the version that this crate holds.
///
/// # Errors
/// When `module` is not a core module, or its functions are not those of the interface.
pub fn componentize_plain(module: &[u8]) -> Result<Vec<u8>> {
    if !Parser::is_core_wasm(module) {
        bail!("this is no core module");
    }
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_source("load-policy.wit", INTERFACE).context("the interface can't be read")?;
    let world =
        resolve.select_world(&[package], Some("load-policy")).context("the interface has no world")?;
    let mut described = module.to_vec();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut described, &resolve, world, encoding)?;
    let mut component = wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&described)
        .context("the module can't be read")?
        .encode()
        .context("the module does not fit the interface")?;
    append_stamp(&mut component, INTERFACE_VERSION.as_bytes());
    Ok(component)
}

/// Adds the custom section with the interface version to a component.
pub fn append_stamp(component: &mut Vec<u8>, version: &[u8]) {
    let section = CustomSection { name: STAMP_SECTION.into(), data: version.into() };
    component.push(section.id());
    section.encode(component);
}

fn stamp(module: &[u8]) -> Result<Vec<u8>> {
    if !Parser::is_core_wasm(module) {
        bail!("this is no core module; give what cargo built for wasm32-unknown-unknown");
    }
    let mut stamps = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.context("the module is damaged")? {
            Payload::CustomSection(section) if section.name() == STAMP_SECTION => {
                stamps.push(section.data().to_vec());
            }
            _ => {}
        }
    }
    match stamps.as_slice() {
        [stamp] => Ok(stamp.clone()),
        [] => {
            bail!("the module has no section `{STAMP_SECTION}`; does its crate call wattle_policy::export!?")
        }
        more => bail!(
            "the module has {} sections `{STAMP_SECTION}`; call wattle_policy::export! once",
            more.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(module: &[u8], expected: &str) {
        let error = componentize(module).expect_err("not a policy's module");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }

    fn module_with(stamps: usize) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new().finish();
        for _ in 0..stamps {
            append_stamp(&mut module, b"1");
        }
        module
    }

    #[test]
    fn what_is_no_core_module_is_refused() {
        check(b"", "no core module");
        check(b"#!/bin/sh", "no core module");
        check(&wasm_encoder::Component::new().finish(), "no core module");
    }

    #[test]
    fn a_module_without_a_stamp_or_with_two_is_refused() {
        check(&module_with(0), "no section `wattle:load-policy`");
        check(&module_with(2), "has 2 sections `wattle:load-policy`");
    }

    #[test]
    fn a_damaged_module_is_refused() {
        let mut module = module_with(1);
        module.truncate(module.len() - 1);
        check(&module, "damaged");
    }
}
