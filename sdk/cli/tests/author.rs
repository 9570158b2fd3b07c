//! What an author meets who hasn't got everything yet.

mod built;

use std::process::Command;

/// Runs a command line in a folder, without any tool to be found; its exit code and what it says.
fn bare(folder: &std::path::Path, line: &str) -> (Option<i32>, String) {
    let nothing = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
    command.args(line.split(' ')).current_dir(folder).env("PATH", nothing.path()).env_remove("WATTLE_TOOLS");
    let done = command.output().expect("it runs");
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_tool_that_is_missing_is_named_with_the_command_that_installs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for (language, expected) in [
        ("rust", "cannot start cargo; install Rust's stable toolchain with rustup"),
        (
            "c",
            "clang is missing; install clang and lld, version 14 or newer (Debian: `apt install clang lld`)",
        ),
        ("js", "componentize-qjs is missing; run `npm install` in mine-js (needs Node.js 18 or newer)"),
        (
            "python",
            "componentize-py is missing; run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` in mine-python",
        ),
    ] {
        let made = bare(folder.path(), &format!("policy new mine-{language} --lang {language}"));
        assert_eq!(made.0, Some(0), "{}", made.1);
        for command in ["build", "test"] {
            let (code, said) = bare(folder.path(), &format!("policy {command} mine-{language}"));
            assert_eq!(code, Some(1), "{language}: {said}");
            assert!(said.contains(expected) && said.lines().count() == 1, "{language}: {said}");
        }
    }
}

#[test]
fn a_source_that_does_not_compile_is_told_by_its_compiler() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(["policy", "new", "mine", "--lang", "c"])
        .current_dir(folder.path())
        .status()
        .expect("it runs");
    assert!(new.success());
    let source = folder.path().join("mine/policy.c");
    let text = std::fs::read_to_string(&source).expect("there") + "\nint broken(void) { return missing; }\n";
    std::fs::write(&source, text).expect("written");
    let done = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(["policy", "build", "mine"])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .current_dir(folder.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("policy.c:") && said.contains("missing"), "{said}");
    assert!(!folder.path().join("mine/mine.wasm").exists());
}

#[test]
fn compiled_code_is_kept_for_the_next_command_and_made_anew_where_it_is_damaged() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("p.wasm"), built::component("equal-share")).expect("written");
    let inspect = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.args(["policy", "inspect", "p.wasm"]).current_dir(home.path());
        let done = command.env("HOME", home.path()).env_remove("XDG_CACHE_HOME").output().expect("it runs");
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        done.stdout
    };
    let entries = || {
        let entries = std::fs::read_dir(home.path().join(".cache/wattle/code")).expect("a folder");
        entries.map(|entry| entry.expect("readable").path()).collect::<Vec<_>>()
    };
    let first = inspect();
    let entry = entries().pop().expect("it is kept");
    let code = std::fs::read(&entry).expect("readable");
    assert_eq!(inspect(), first);
    assert_eq!(std::fs::read(&entry).expect("readable"), code);
    std::fs::write(&entry, &code[..code.len() / 2]).expect("written");
    assert_eq!(inspect(), first);
    assert_eq!((entries().len(), std::fs::read(&entry).expect("readable").len()), (1, code.len()));
}
