//! `wattle policy new`: a project that holds all of Wattle that it needs.
//!
//! A project is one folder: the policy, its cases, the interface, and what a language needs beside. Nothing in it leads back to a
//! checkout of Wattle. The files are those of `templates`, in which the name `my-policy` stands for the project's.

mod files;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::Usage;

/// The name that the templates have.
const TEMPLATE_NAME: &str = "my-policy";

/// Make a project for a load policy: it builds, and passes its cases
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy new my-policy && cd my-policy && wattle policy test
  wattle policy new night-rate --lang python

What a language needs to be there is said by `wattle policy build`. The folder must not be there already.
Exit codes: 0 done, 1 the folder can't be written, 2 a name that can't be used.")]
pub struct Args {
    /// The policy's name, and that of its folder: small letters, digits and `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What a policy is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust: small and fast, with a test kit
    Rust,
    /// Python: wants the most memory, and the site's grant for it
    Python,
    /// JavaScript
    Js,
    /// C: the smallest, without a standard library
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rust, Self::Python, Self::Js, Self::C];

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Js => "JavaScript",
            Self::C => "C",
        }
    }

    /// The file by which a project of this language is told from others.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "policy.py",
            Self::Js => "policy.js",
            Self::C => "policy.c",
        }
    }
}

/// Makes the project in the working directory.
///
/// # Errors
/// [`Usage`] for a name that can't be one; another when the folder is there or can't be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = create(Path::new("."), &args.name, args.lang)?;
    if args.json {
        println!(
            "{}",
            json!({ "name": args.name, "lang": args.lang.name(), "folder": folder.canonicalize()? })
        );
        return Ok(());
    }
    println!("{0}: a project in {1}; next: cd {0} && wattle policy test", args.name, args.lang.name());
    Ok(())
}

/// Makes the project `name` in a folder.
///
/// # Errors
/// As [`run`].
pub fn create(parent: &Path, name: &str, language: Language) -> anyhow::Result<PathBuf> {
    check(name)?;
    let folder = parent.join(name);
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (path, text) in files::of(language) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, named(text, name)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// A template's text under the project's name.
fn named(text: &str, name: &str) -> String {
    let in_camel_case: String = name.split('-').map(capital).collect();
    text.replace(TEMPLATE_NAME, name).replace("MyPolicy", &in_camel_case)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn check(name: &str) -> Result<(), Usage> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || name.len() > 48 || !name.chars().all(allowed) || name.ends_with('-') || name.contains("--")
    {
        return Err(Usage(format!(
            "`{name}` is no name for a policy; use 1 to 48 small letters, digits and single `-`, a letter first"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_bears_its_name_and_knows_no_other() {
        for language in Language::ALL {
            let parent = tempfile::tempdir().expect("a folder");
            let folder = create(parent.path(), "night-rate-2", language).expect("made");
            let text = std::fs::read_to_string(folder.join(language.mark())).expect("there");
            assert!(text.contains("night-rate-2"), "{language:?}");
            for (path, _) in files::of(language) {
                let text = std::fs::read_to_string(folder.join(path)).expect("written");
                assert!(!text.contains("my-policy") && !text.contains("MyPolicy"), "{language:?}: {path}");
            }
        }
    }

    #[test]
    fn a_name_that_can_not_be_one_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        for name in ["", "-a", "a-", "a--b", "A", "a_b", "1a", "../a", "a/b", "é", &"a".repeat(49)] {
            let error = create(parent.path(), name, Language::C).expect_err(name);
            assert!(error.is::<Usage>(), "{name}: {error}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).expect("there").count(), 0);
    }

    #[test]
    fn a_folder_that_is_there_is_left_alone() {
        let parent = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(parent.path().join("mine")).expect("made");
        let error = create(parent.path(), "mine", Language::Js).expect_err("there already");
        assert!(format!("{error:#}").contains("mine: File exists"), "{error:#}");
        assert_eq!(std::fs::read_dir(parent.path().join("mine")).expect("there").count(), 0);
    }

    #[test]
    fn a_project_in_rust_holds_every_file_of_the_sdk() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/src");
        let mut folders = vec![sdk.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("there") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let within = path.strip_prefix(&sdk).expect("within").to_str().expect("plain").to_owned();
                let carried = files::of(Language::Rust)
                    .any(|(carried, _)| carried == format!("sdk/policy/src/{within}"));
                assert!(carried, "add {within} to SDK in new/files.rs");
            }
        }
    }

    #[test]
    fn the_sdk_that_is_carried_asks_for_the_libraries_of_the_one_in_the_tree() {
        let workspace = include_str!("../../../Cargo.toml");
        let asked = workspace.lines().find(|line| line.starts_with("wit-bindgen")).expect("asked for");
        assert!(files::SDK_MANIFEST.contains(asked), "{asked}");
    }
}
