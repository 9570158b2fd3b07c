//! Sessions as rows of `sessions_revisions`, both ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanBuilder, Int64Array, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::Int64Type;
use wattle_fog_core::session::Session;
use wattle_wire::{Micros, WattHours};

use super::sessions::{Key, keys_of};
use crate::lake::columns::{column, text, texts, timestamps, value};
use crate::lake::error::Context as _;
use crate::lake::{LakeError, schema};

const OPEN: &str = "open";
const CLOSED: &str = "closed";

/// The notes that a session may have; what is read back is one of them.
const NOTES: [&str; 3] = ["no_start_register", "no_end_register", "register_fell"];

/// The newest revision of each session of some devices.
pub(super) type Known = BTreeMap<Key, (i64, Session)>;

/// Every row of a batch of revisions.
pub(super) fn known_in(batch: &RecordBatch) -> impl Iterator<Item = (Key, i64, Session)> + '_ {
    let revisions = column::<Int64Type>(batch, "revision");
    keys_of(batch).enumerate().map(|(row, key)| {
        let session = session_in(batch, row, key.1.clone());
        (key, revisions.value(row), session)
    })
}

fn session_in(batch: &RecordBatch, row: usize, id: String) -> Session {
    let energy = |name| value(column::<Int64Type>(batch, name), row).map(WattHours);
    let at = |name| value(timestamps(batch, name), row).map(Micros);
    let note = text(texts(batch, "note"), row);
    let estimated = batch.column_by_name("end_estimated").expect("the schema has this column").as_boolean();
    Session {
        id,
        user: text(texts(batch, "user"), row).map(str::to_owned),
        plugged_at: at("plugged_at"),
        started_at: at("started_at"),
        ended_at: at("ended_at"),
        unplugged_at: at("unplugged_at"),
        register_start: energy("register_start_wh"),
        register_end: energy("register_end_wh"),
        energy: energy("energy_wh"),
        requested: energy("requested_wh"),
        departure: at("departure_at"),
        closed: texts(batch, "state").value(row) == CLOSED,
        end_estimated: estimated.value(row),
        note: note.and_then(|note| NOTES.into_iter().find(|known| *known == note)),
    }
}

/// New revisions, as columns.
pub(super) struct Revisions {
    revision: i64,
    count: usize,
    /// site, device, session, user, state, note
    names: [StringBuilder; 6],
    /// plugged, started, ended, unplugged, departure
    moments: [TimestampMicrosecondBuilder; 5],
    /// register at start and end, energy, requested
    energies: [Int64Builder; 4],
    estimated: BooleanBuilder,
}

impl Revisions {
    pub(super) fn new(revision: u64) -> Self {
        Self {
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            count: 0,
            names: Default::default(),
            moments: std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            energies: Default::default(),
            estimated: BooleanBuilder::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn push(&mut self, ((site, device), id): &Key, session: &Session) {
        self.count += 1;
        let state = if session.closed { CLOSED } else { OPEN };
        let names =
            [Some(site.as_str()), Some(device), Some(id), session.user.as_deref(), Some(state), session.note];
        for (column, name) in self.names.iter_mut().zip(names) {
            column.append_option(name);
        }
        let moments = [
            session.plugged_at,
            session.started_at,
            session.ended_at,
            session.unplugged_at,
            session.departure,
        ];
        for (column, at) in self.moments.iter_mut().zip(moments) {
            column.append_option(at.map(|at| at.0));
        }
        let energies = [session.register_start, session.register_end, session.energy, session.requested];
        for (column, energy) in self.energies.iter_mut().zip(energies) {
            column.append_option(energy.map(|energy| energy.0));
        }
        self.estimated.append_value(session.end_estimated);
    }

    pub(super) fn finish(mut self) -> Result<Vec<RecordBatch>, LakeError> {
        let [site, device, session, user, state, note] =
            self.names.each_mut().map(|c| Arc::new(c.finish()) as ArrayRef);
        let [plugged, started, ended, unplugged, departure] =
            self.moments.each_mut().map(|c| Arc::new(c.finish()) as ArrayRef);
        let [register_start, register_end, energy, requested] =
            self.energies.each_mut().map(|c| Arc::new(c.finish()) as ArrayRef);
        let estimated = Arc::new(self.estimated.finish());
        let revision = Arc::new(Int64Array::from_value(self.revision, self.count));
        let columns: Vec<ArrayRef> = vec![
            site,
            device,
            session,
            user,
            plugged,
            started,
            ended,
            unplugged,
            register_start,
            register_end,
            energy,
            requested,
            departure,
            state,
            estimated,
            note,
            revision,
        ];
        Ok(vec![RecordBatch::try_new(schema::sessions(), columns).columns("sessions")?])
    }
}
