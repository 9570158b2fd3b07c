//! Where answers go: standard output or a file.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Takes what a command prints. A file appears under its name only when it is whole ([`Output::finish`]); until then
/// it is beside it, as `<name>.part`.
pub enum Output {
    /// Standard output.
    Terminal(Stdout),
    /// A file that is being written.
    File {
        /// What is written.
        file: BufWriter<File>,
        /// Where it stands until it is whole.
        part: PathBuf,
        /// Where it goes.
        path: PathBuf,
    },
}

impl Output {
    /// Standard output, or a file that is to be made or replaced.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Terminal(io::stdout())) };
        let part = path.with_added_extension("part");
        let file = File::create(&part).with_context(|| format!("{} can't be written", part.display()))?;
        Ok(Self::File { file: BufWriter::new(file), part, path: path.to_owned() })
    }

    /// Writes what is buffered, and gives the file its name.
    ///
    /// # Errors
    /// When the disk takes it no more.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.flush()?;
        if let Self::File { part, path, .. } = self {
            std::fs::rename(&part, &path).with_context(|| format!("{} can't be made", path.display()))?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(out) => quiet(out.write(bytes)),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Terminal(out) => quiet(out.flush()),
            Self::File { file, .. } => file.flush(),
        }
    }
}

/// A text that others have written, as guests and nodes do, without what a terminal would obey: of the control characters only line
/// feeds and tabs are left.
pub fn plain(text: &str) -> String {
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// A reader that has seen enough (`wattle sql ... | head`) is no failure.
fn quiet<T>(result: io::Result<T>) -> io::Result<T> {
    if result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rows.csv");
        let mut output = Output::open(Some(&path)).expect("a file");
        output.write_all(b"a\n").expect("written");
        assert!(!path.exists());
        output.finish().expect("finished");
        assert_eq!(std::fs::read(&path).expect("readable"), b"a\n");
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn a_terminal_is_told_nothing_to_obey() {
        assert_eq!(plain("é 6 A\n\tok"), "é 6 A\n\tok");
        assert_eq!(plain("\x1b[2Jgone\r\u{9b}31m\0"), "\u{fffd}[2Jgone\u{fffd}\u{fffd}31m\u{fffd}");
    }

    #[test]
    fn a_file_that_can_not_be_made_is_named() {
        let error = Output::open(Some(Path::new("/nowhere/rows.csv"))).err().expect("no such folder");
        assert!(error.to_string().starts_with("/nowhere/rows.csv.part can't be written"), "{error}");
    }
}
