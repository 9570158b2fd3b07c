//! The compilers of the languages beside Rust: where they are found, how they are called, what is said when they are missing.
//!
//! A tool is looked for in the project, then in `$WATTLE_TOOLS`, then in `$PATH`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The versions of clang that are looked for by their own names, the newest first.
const CLANGS: std::ops::RangeInclusive<u32> = 14..=22;

/// For a machine without an operating system, small; undefined behaviour is a warning that stops the build.
const C_FLAGS: [&str; 14] = [
    "--target=wasm32",
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-ffreestanding",
    "-fno-builtin",
    "-nostdlib",
    "-mbulk-memory",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,--stack-first",
    "-Wl,-z,stack-size=65536",
    "-o",
];

/// A file or folder in `$WATTLE_TOOLS`.
pub fn shared(path: &str) -> Option<PathBuf> {
    std::env::var_os("WATTLE_TOOLS")
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(&folder).join(path))
}

/// C: every `.c` file of the project and of its folder `wattle` to a core module.
pub fn clang(folder: &Path, output: &Path) -> anyhow::Result<()> {
    let names =
        std::iter::once("clang".to_owned()).chain(CLANGS.rev().map(|version| format!("clang-{version}")));
    let clang = names.map(PathBuf::from).find_map(|name| in_path(&name)).context(
        "clang is missing; install clang and lld, version 14 or newer (Debian: `apt install clang lld`)",
    )?;
    let mut sources = Vec::new();
    for part in [folder.to_owned(), folder.join("wattle")] {
        let entries = std::fs::read_dir(&part).with_context(|| format!("cannot read {}", part.display()))?;
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        sources.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "c")));
    }
    sources.sort();
    let mut command = Command::new(&clang);
    command.args(C_FLAGS).arg(output).args(&sources);
    run(command, "is lld missing? Debian: `apt install lld`, of the same version as clang")
}

/// JavaScript: `policy.js`, and what it imports, to a component with QuickJS in it.
pub fn componentize_qjs(folder: &Path, output: &Path) -> anyhow::Result<()> {
    let tool = tool(folder, "node_modules/.bin/componentize-qjs", "js/node_modules/.bin/componentize-qjs");
    let tool = tool.with_context(|| {
        format!(
            "componentize-qjs is missing; run `npm install` in {} (needs Node.js 18 or newer)",
            folder.display()
        )
    })?;
    let mut command = Command::new(&tool);
    // No asynchronous calls, which the host doesn't offer; the small build of the engine; WASI as stubs that trap.
    command.args([
        "--wit",
        "wit",
        "--js",
        "policy.js",
        "--module-root",
        ".",
        "--sync",
        "--opt-size",
        "--stub-wasi",
        "-o",
    ]);
    command.arg(output).current_dir(folder);
    run(command, "is Node.js older than 18?")
}

/// Python: `policy.py`, and what it imports, to a component with CPython in it.
pub fn componentize_py(folder: &Path, output: &Path) -> anyhow::Result<()> {
    let tool = tool(folder, ".venv/bin/componentize-py", "python/bin/componentize-py");
    let tool = tool.with_context(|| {
        let folder = folder.display();
        format!("componentize-py is missing; run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` in {folder}")
    })?;
    let mut command = Command::new(&tool);
    command.args([
        "-q",
        "-d",
        "wit",
        "-w",
        "load-policy",
        "componentize",
        "--stub-wasi",
        "-p",
        ".",
        "policy",
        "-o",
    ]);
    // Of the environment that the tool runs in, nothing may come into the component.
    command.arg(output).current_dir(folder).env_remove("VIRTUAL_ENV").env_remove("PYTHONPATH");
    run(command, "see its message above")
}

fn tool(folder: &Path, own: &str, common: &str) -> Option<PathBuf> {
    let name = Path::new(own).file_name()?;
    let places = [folder.canonicalize().ok().map(|folder| folder.join(own)), shared(common)];
    places.into_iter().flatten().find(|place| place.is_file()).or_else(|| in_path(Path::new(name)))
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a tool; what it says is shown only when it fails.
fn run(mut command: Command, hint: &str) -> anyhow::Result<()> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        bail!("{name} fails ({hint}):\n{}", String::from_utf8_lossy(&said).trim_end());
    }
    Ok(())
}
