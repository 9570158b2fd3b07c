//! The system calls of a running process, seen or made to fail by strace.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wattle_testkit::{Process, wait_for};

use crate::support::LIMIT;

/// Looks at a process until it ends. Dropping it leaves the process as it was.
pub struct Trace {
    strace: Process,
    folder: TempDir,
}

/// One system call, as a line each of its beginning and its end in the order in which they were seen.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    /// The first argument, if it is a number.
    pub file: Option<u32>,
    /// The bytes of the strings among its arguments.
    pub bytes: Vec<u8>,
    /// Whether it writes so that it lasts when it returns.
    pub lasts: bool,
    pub began: usize,
    /// The line, and the result.
    pub ended: Option<(usize, i64)>,
}

impl Call {
    /// Whether it succeeded before the line `at`.
    pub fn has_ended_before(&self, at: usize) -> bool {
        self.ended.is_some_and(|(line, result)| line < at && result >= 0)
    }
}

impl Trace {
    /// Writes down these calls of the process, separated by commas.
    pub fn watch(process: u32, calls: &str) -> Self {
        Self::start(process, &[format!("trace={calls}")])
    }

    /// The same, where calls of the name `lacking` are not known to the file system.
    pub fn watch_without(process: u32, calls: &str, lacking: &str) -> Self {
        Self::start(process, &[format!("trace={calls}"), format!("inject={lacking}:error=EOPNOTSUPP")])
    }

    /// Has each call of this name fail with this error, as in `EIO`.
    pub fn fail(process: u32, call: &str, error: &str) -> Self {
        Self::start(process, &[format!("trace={call}"), format!("inject={call}:error={error}")])
    }

    fn start(process: u32, expressions: &[String]) -> Self {
        let folder = TempDir::new().expect("folder");
        let mut command = Command::new("strace");
        // Every byte in hexadecimal, none left out.
        command.args(["-f", "-xx", "-s", "10000000", "-p"]).arg(process.to_string());
        command.arg("-o").arg(written(&folder)).stderr(Stdio::null());
        for expression in expressions {
            command.arg("-e").arg(expression);
        }
        let strace = Process::start(command).expect("strace is there; run `make setup`");
        wait_for("every thread to be watched", LIMIT, || is_watched(process).then_some(())).expect("watched");
        Self { strace, folder }
    }

    /// Lets go of the process; gives what was seen.
    pub fn end(mut self) -> Vec<Call> {
        self.strace.terminate(LIMIT).expect("it lets go");
        calls(&fs::read_to_string(written(&self.folder)).expect("written"))
    }
}

fn written(folder: &TempDir) -> PathBuf {
    folder.path().join("calls")
}

fn is_watched(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        // A thread that has ended meanwhile needs nobody to watch it.
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// Lines are `THREAD name(arguments) = result`, or one of `THREAD name(arguments <unfinished ...>` and later one of
/// `THREAD <... name resumed>) = result`.
fn calls(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open = HashMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        let ended = result(rest).map(|result| (at, result));
        if rest.starts_with("<... ") {
            let index: Option<usize> = open.remove(thread);
            index.into_iter().for_each(|index| calls[index].ended = ended);
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        let file = arguments.split([',', ')', ' ']).next().and_then(|first| first.parse().ok());
        if ended.is_none() {
            open.insert(thread, calls.len());
        }
        let lasts = arguments.contains("RWF_DSYNC");
        calls.push(Call { name: name.into(), file, bytes: strings(arguments), lasts, began: at, ended });
    }
    calls
}

fn result(line: &str) -> Option<i64> {
    line.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()
}

/// The bytes between quotes, each as `\xHH`.
fn strings(arguments: &str) -> Vec<u8> {
    let hex = arguments.split("\\x").skip(1).filter_map(|rest| rest.get(..2));
    hex.filter_map(|hex| u8::from_str_radix(hex, 16).ok()).collect()
}

#[test]
fn calls_of_threads_that_take_turns_are_told_apart() {
    let seen = calls(
        "12 pwrite64(9, \"\\x61\\x62\", 2, 0) = 2\n12 fdatasync(9 <unfinished ...>\n\
         345 sendto(7, \"\\x40\\x02\\x00\\x01\", 4, MSG_NOSIGNAL, NULL, 0) = 4\n12 <... fdatasync resumed>) = 0\n\
         12 fdatasync(9) = -1 EIO (Input/output error) (INJECTED)\n345 +++ exited with 0 +++\n",
    );
    let told: Vec<_> = seen.iter().map(|c| (c.name.as_str(), c.file, c.bytes.len(), c.ended)).collect();
    let expected = [
        ("pwrite64", Some(9), 2, Some((0, 2))),
        ("fdatasync", Some(9), 0, Some((3, 0))),
        ("sendto", Some(7), 4, Some((2, 4))),
        ("fdatasync", Some(9), 0, Some((4, -1))),
    ];
    assert_eq!(told, expected);
    assert!(!seen[1].has_ended_before(2) && seen[1].has_ended_before(4) && !seen[3].has_ended_before(9));
}
