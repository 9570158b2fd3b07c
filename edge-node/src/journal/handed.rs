//! What goes up and what comes back: how far entries were handed to the uplink, and how far the lake is.
//!
//! Both positions are on the disk before anything is done that they stand for. A full disk has room for them, since they
//! are written in place (`position`). Where that isn't so, as before they were first written, the file `reserve` goes, which
//! is made again afterwards, and then log that is kept for a replay only.

use bytes::Bytes;
use wattle_wire::uplink::SegmentHeader;

use super::error::JournalError;
use super::log::Place;
use super::position::Position;
use super::{Journal, disk, segments, stamp};

/// What is given up when the disk is full, so that the lake's position can be written and segments freed.
const RESERVE: &str = "reserve";
/// Its length: a few blocks of any file system, for the position, its name and the folder.
const RESERVE_BYTES: usize = 64 << 10;

impl Journal {
    /// The first segment with entries after `sequence` (none: the first of all), for the uplink. That it was handed out
    /// is on the disk before. A segment that is damaged is set aside and made again from the log; what the log has no
    /// more becomes a gap.
    ///
    /// # Errors
    /// When the disk fails. A segment that can't be read counts as damaged after eight tries.
    pub fn read_after(
        &mut self,
        sequence: Option<u64>,
    ) -> Result<Option<(SegmentHeader, Bytes)>, JournalError> {
        let found = self.look_after(sequence)?;
        if let Some((header, _)) = &found {
            self.hand_out(header.to)?;
        }
        Ok(found)
    }

    /// As [`Journal::read_after`], for who only looks and mends: nothing is handed out by it.
    ///
    /// # Errors
    /// As there.
    pub fn look_after(
        &mut self,
        sequence: Option<u64>,
    ) -> Result<Option<(SegmentHeader, Bytes)>, JournalError> {
        let filled = self.fill_holes();
        let after = sequence.unwrap_or(0).max(self.committed.at);
        // What stands before a hole goes up although that can't be filled yet, as on a full disk: so there is room again.
        let next = self.segments.index_after(after).map(|index| &self.segments.list[index].segment.header);
        if next.is_none_or(|header| header.from > after + 1) {
            filled?;
        }
        for mended in [false, true] {
            let Some(index) = self.segments.index_after(sequence.unwrap_or(0)) else { return Ok(None) };
            let sealed = self.segments.list[index].segment.clone();
            let lenient = self.reading_tries.again(sealed.header.from);
            match segments::read(&self.place, &sealed, lenient)? {
                Some(bytes) => {
                    self.reading_tries.succeeded();
                    return Ok(Some((sealed.header, bytes)));
                }
                None if !mended => self.mend(index)?,
                None => {
                    tracing::error!(path = %sealed.path.display(), "segment can't be read back after mending")
                }
            }
        }
        Ok(None)
    }

    /// Notes that the uplink is about to get the entries up to `to`.
    fn hand_out(&mut self, to: u64) -> Result<(), JournalError> {
        // That they were handed out before may be known from what a killed process has left in the system's memory.
        self.log.keep_found()?;
        if to > self.handed.at {
            self.write_position(stamp::HANDED, to)?;
            self.keep_reserve();
        }
        Ok(())
    }

    /// Notes how far the lake is, and removes the segments behind. A position that isn't new changes nothing. To a
    /// journal of a former life a lake that is ahead of it is no news: the original has gone on.
    ///
    /// # Errors
    /// [`JournalError::Ahead`] when the lake has entries that this journal never handed out; or when the disk fails.
    pub fn free(&mut self, committed: u64) -> Result<(), JournalError> {
        let committed = match self.options.is_former {
            true => committed.min(self.log.next - 1),
            false if committed > self.handed.at => {
                return Err(JournalError::Ahead { committed, last: self.handed.at });
            }
            false => committed,
        };
        // What was found to be committed lasts before anything goes for it, and before what was there before it is written over.
        self.log.keep_found()?;
        if committed > self.committed.at {
            self.write_position(stamp::COMMITTED, committed)?;
        }
        let gone = self.segments.free(&self.place, self.committed.at);
        if let Err(error) = gone.and(self.release()) {
            // The position stands: what the lake has and what goes up next have nothing to do with it.
            tracing::warn!(%error, "what the lake has can't be removed yet; it is tried again");
        }
        self.keep_reserve();
        Ok(())
    }

    fn write_position(&mut self, name: &str, to: u64) -> Result<(), JournalError> {
        let place = self.place.clone();
        self.in_some_room(|journal| journal.position(name).write(&place, to))
    }

    /// Does what lets the way up go on; where a full disk has no room for it, in that of the reserve, or else of log that
    /// makes way.
    pub(super) fn in_some_room<T>(
        &mut self,
        attempt: impl Fn(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut done = attempt(self);
        let is_full = matches!(done, Err(JournalError::DiskFull { .. }));
        if is_full && self.place.disk.remove(&self.place.dir.join(RESERVE)).is_ok() {
            done = attempt(self);
        }
        match done {
            Err(error) if self.makes_way(&error) => attempt(self),
            done => done,
        }
    }

    fn position(&mut self, name: &str) -> &mut Position {
        if name == stamp::HANDED { &mut self.handed } else { &mut self.committed }
    }

    /// Writes the positions where there is no file yet that has room for the next, as in a journal that is new.
    pub(super) fn keep_positions(&mut self) {
        for name in [stamp::HANDED, stamp::COMMITTED] {
            let position = self.position(name);
            let (has_room, at) = (position.has_room(), position.at);
            if !has_room && let Err(error) = self.write_position(name, at) {
                tracing::debug!(%error, name, "the position is written with the next");
            }
        }
    }

    /// Makes the reserve if it isn't there. Without room for it the journal goes on; the next [`Journal::free`] tries
    /// again.
    pub(super) fn keep_reserve(&mut self) {
        let Place { disk, dir, .. } = &self.place;
        let there = disk.read(&dir.join(RESERVE), RESERVE_BYTES as u64);
        if there.is_ok_and(|bytes| bytes.len() == RESERVE_BYTES) {
            return;
        }
        if let Err(error) = disk::put(&**disk, dir, RESERVE, |_| vec![0xA5; RESERVE_BYTES]) {
            tracing::debug!(%error, "no room for the journal's reserve yet");
        }
    }
}
