//! What is checked of a component's bytes before anything is compiled.

use wasmparser::{ComponentExternalKind, Parser, Payload};

use crate::{INTERFACE_VERSIONS, LoadError};

/// Name of the custom section that holds the interface version.
const STAMP_SECTION: &str = "wattle:load-policy";

/// The imports of version 1: the log, and the types that it and the exports share.
const IMPORTS: [&str; 2] = ["wattle:load-policy/log@1.0.0", "wattle:load-policy/types@1.0.0"];

/// Checks size, kind, stamp and imports, in this order.
pub fn check(bytes: &[u8], most_bytes: usize) -> Result<(), LoadError> {
    if bytes.len() > most_bytes {
        return Err(LoadError::TooLarge { size: bytes.len(), limit: most_bytes });
    }
    if Parser::is_core_wasm(bytes) {
        return Err(LoadError::CoreModule);
    }
    if !Parser::is_component(bytes) {
        return Err(LoadError::Malformed("it does not begin like one".into()));
    }
    let outline = outline(bytes).map_err(|e| LoadError::Malformed(e.to_string()))?;
    match outline.stamps.as_slice() {
        [] => return Err(LoadError::NoStamp),
        [stamp] if INTERFACE_VERSIONS.contains(&stamp.as_str()) => {}
        stamps => return Err(LoadError::UnknownVersion(stamps.join(" and "))),
    }
    match outline.imports.into_iter().find(|name| !IMPORTS.contains(&name.as_str())) {
        Some(name) => Err(LoadError::ForbiddenImport(name)),
        None => Ok(()),
    }
}

/// What stands at the top level of a component.
#[derive(Default)]
struct Outline {
    stamps: Vec<String>,
    imports: Vec<String>,
}

fn outline(bytes: &[u8]) -> wasmparser::Result<Outline> {
    let mut outline = Outline::default();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if depth == 1 && section.name() == STAMP_SECTION => {
                outline.stamps.push(short(section.data()));
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import?;
                    // A type by itself gives a policy nothing; the linker checks it later.
                    if import.ty.kind() != ComponentExternalKind::Type {
                        outline.imports.push(short(import.name.name.as_bytes()));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

/// A text from the component as it may stand in an error.
fn short(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(100)]).into_owned()
}
