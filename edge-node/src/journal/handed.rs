//! What goes up and what comes back: how far entries were handed to the uplink, and how far the lake is.
//!
//! Both positions are on the disk before anything is done that they stand for. On a full disk the file `reserve` goes
//! first, so that there is room for them; it is made again afterwards.

use super::error::JournalError;
use super::log::Place;
use super::{Journal, disk, stamp};

/// What is given up when the disk is full, so that the lake's position can be written and segments freed.
const RESERVE: &str = "reserve";
/// Its length: a few blocks of any file system, for the position, its name and the folder.
const RESERVE_BYTES: usize = 64 << 10;

impl Journal {
    /// Notes that the uplink is about to get the entries up to `to`.
    pub(super) fn hand_out(&mut self, to: u64) -> Result<(), JournalError> {
        if to > self.handed_out {
            self.write_position(stamp::HANDED, to)?;
            self.handed_out = to;
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
            false if committed > self.handed_out => {
                return Err(JournalError::Ahead { committed, last: self.handed_out });
            }
            false => committed,
        };
        if committed > self.committed {
            self.write_position(stamp::COMMITTED, committed)?;
            self.committed = committed;
        }
        // What was found to be committed lasts before anything goes for it.
        self.log.keep_found()?;
        self.segments.free(&self.place, self.committed)?;
        self.release()?;
        self.keep_reserve();
        Ok(())
    }

    /// Writes a position; on a full disk in the room of the reserve.
    fn write_position(&self, name: &str, sequence: u64) -> Result<(), JournalError> {
        let Place { disk, dir, incarnation } = &self.place;
        let write = || stamp::write_position(&**disk, dir, name, *incarnation, sequence, &[]);
        match write() {
            Err(JournalError::DiskFull { .. }) if disk.remove(&dir.join(RESERVE)).is_ok() => write(),
            result => result,
        }
    }

    /// Writes how far entries were handed out where no file says it, as in a journal that is new: so that the next
    /// position takes the room of this one.
    pub(super) fn keep_handed(&self) {
        if let Err(error) = self.write_position(stamp::HANDED, self.handed_out) {
            tracing::debug!(%error, "how far entries were handed out is written with the next");
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
        if let Err(error) = disk::replace(&**disk, dir, RESERVE, &[0xA5; RESERVE_BYTES]) {
            tracing::debug!(%error, "no room for the journal's reserve yet");
        }
    }
}
