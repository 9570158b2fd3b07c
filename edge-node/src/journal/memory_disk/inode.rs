//! A file's bytes: as they are read, and as they would be after a loss of power.

use std::ops::Range;

#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) now: Vec<u8>,
    pub(super) lasting: Vec<u8>,
    /// What a failed sync should have kept. As on Linux it counts as written from then on: no later sync keeps it, unless it is
    /// written once more.
    given_up: Vec<Range<usize>>,
}

impl Inode {
    /// A file that lasts as it is.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), lasting: bytes, given_up: Vec::new() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.now.resize(self.now.len().max(end), 0);
        self.now[offset..end].copy_from_slice(bytes);
        let parts = |lost: &Range<usize>| [lost.start..lost.end.min(offset), lost.start.max(end)..lost.end];
        self.given_up = self.given_up.iter().flat_map(parts).filter(|lost| !lost.is_empty()).collect();
    }

    pub(super) fn sync(&mut self) {
        let before = std::mem::replace(&mut self.lasting, self.now.clone());
        for place in self.given_up.iter().cloned().flatten() {
            self.lasting[place] = before.get(place).copied().unwrap_or(0);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        let same = self.now.iter().zip(&self.lasting).take_while(|(a, b)| a == b).count();
        self.given_up.push(same..self.end_of_new());
    }

    pub(super) fn lose_power(&mut self) {
        self.now.clone_from(&self.lasting);
        self.given_up.clear();
    }

    /// Behind the last byte that doesn't last as it is.
    pub(super) fn end_of_new(&self) -> usize {
        if self.now.len() > self.lasting.len() {
            return self.now.len();
        }
        let differs = self.now.iter().zip(&self.lasting).rposition(|(a, b)| a != b);
        differs.map_or(self.now.len(), |last| last + 1)
    }
}
