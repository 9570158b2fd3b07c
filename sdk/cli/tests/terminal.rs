//! What stands on a terminal only: colours and signs of life. The terminal is a pseudo-terminal of `script`, which every Debian has.

mod built;

use std::net::TcpListener;
use std::process::Command;

const CASE: &str = r#"{
  "about": "two share",
  "snapshot": {"circuits": [{"id": "grid", "limit_ma": 20000}], "chargers": [{"id": "a"}, {"id": "b"}]},
  "expect": {"plan": {"a": 10000, "b": 10000}}
}"#;
const GREEN: &str = "\x1b[32m";

/// What a command line writes on a terminal, or into pipes, with more in its environment.
fn shown(line: &str, on_terminal: bool, more: &[(&str, &str)]) -> String {
    let line = line.replacen("wattle", env!("CARGO_BIN_EXE_wattle"), 1);
    let mut command = if on_terminal {
        let mut command = Command::new("script");
        command.args(["--quiet", "--command", &line, "/dev/null"]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        command
    };
    command
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(more.iter().copied());
    let done = command.stdin(std::process::Stdio::null()).output().expect("script of util-linux runs");
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

#[test]
fn words_are_coloured_on_a_terminal_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let (policy, case) = (folder.path().join("p.wasm"), folder.path().join("case.json"));
    std::fs::write(&policy, built::component("equal-share")).expect("written");
    std::fs::write(&case, CASE).expect("written");
    let line = format!("wattle policy test {} --cases {}", policy.display(), case.display());
    let painted = shown(&line, true, &[]);
    assert!(painted.contains(&format!("{GREEN}ok")), "{painted:?}");
    for (on_terminal, line, more) in [
        (false, line.clone(), [].as_slice()),
        (true, line.clone(), &[("NO_COLOR", "1")]),
        (true, line.clone(), &[("TERM", "dumb")]),
        (true, format!("{line} --json"), &[]),
    ] {
        let plain = shown(&line, on_terminal, more);
        assert!(
            plain.contains("two share") && !plain.contains('\x1b'),
            "{on_terminal} {line} {more:?}: {plain:?}"
        );
    }
    std::fs::write(&case, CASE.replacen("10000", "9000", 1)).expect("written");
    let failed = shown(&line, true, &[]);
    assert!(failed.contains("\x1b[31mFAIL"), "{failed:?}");
}

#[test]
fn help_is_styled_on_a_terminal_and_nowhere_else() {
    let help = |on_terminal, more: &[(&str, &str)]| shown("wattle policy --help", on_terminal, more);
    let (there, here, plain) = (help(true, &[]), help(false, &[]), help(true, &[("NO_COLOR", "1")]));
    assert!(there.contains("\x1b[1m"), "{there:?}");
    for unstyled in [here, plain] {
        assert!(!unstyled.contains('\x1b') && unstyled.contains("Usage: wattle policy"), "{unstyled:?}");
    }
}

#[test]
fn who_waits_longer_than_two_seconds_is_told_for_what_on_a_terminal_and_nowhere_else() {
    // It takes connections and never answers, so the command waits until its patience ends.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let line = format!("wattle policy status --edge http://{}", silent.local_addr().expect("bound"));
    std::thread::scope(|scope| {
        let wait = |line: String, on_terminal| scope.spawn(move || shown(&line, on_terminal, &[]));
        let terminal = wait(line.clone(), true);
        let pipe = wait(line.clone(), false);
        let json = wait(format!("{line} --json"), true);
        let [terminal, pipe, json] = [terminal, pipe, json].map(|thread| thread.join().expect("it ends"));
        assert!(terminal.contains("asking, "), "{terminal:?}");
        assert!(!pipe.contains("asking") && !pipe.contains('\x1b'), "{pipe:?}");
        assert!(!json.contains("asking") && !json.contains('\x1b'), "{json:?}");
        for shown in [terminal, pipe, json] {
            assert!(shown.contains("it took longer than 5 s"), "{shown:?}");
        }
    });
}
