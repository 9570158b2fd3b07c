//! A file's bytes: as they are read, and as they would be after a loss of power.

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) now: Vec<u8>,
    pub(super) lasting: Vec<u8>,
}

impl Inode {
    /// Behind the last byte that doesn't last as it is.
    pub(super) fn end_of_new(&self) -> usize {
        if self.now.len() > self.lasting.len() {
            return self.now.len();
        }
        let differs = self.now.iter().zip(&self.lasting).rposition(|(a, b)| a != b);
        differs.map_or(self.now.len(), |last| last + 1)
    }
}
