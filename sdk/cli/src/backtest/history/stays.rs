//! Who came to a site, out of its history.

use std::collections::BTreeMap;

use wattle_wire::{Micros, WattHours};

use super::History;
use super::columns::{named, numbers, precise, texts};
use crate::backtest::demand::Past;

impl History<'_> {
    /// The stays of vehicles whose charge was started, in order of arrival; `last` is the end of those that are still there, which have
    /// drawn what their last register tells. And how many are left out, because no register tells what they drew.
    ///
    /// # Errors
    /// When the lake can't be asked.
    pub async fn stays(&mut self, last: Micros) -> anyhow::Result<(Vec<Past>, u64)> {
        let moments = ["plugged_at", "started_at", "ended_at", "unplugged_at", "departure_at"];
        let moments = moments.map(|name| format!("CAST({name} AS BIGINT) AS {name}_us")).join(", ");
        let sql = format!(
            "SELECT device, session, \"user\", {moments}, energy_wh, requested_wh, state, \
             register_start_wh FROM sessions WHERE site = '{}' AND started_at IS NOT NULL ORDER BY started_at, device, session",
            self.site
        );
        let (mut stays, mut left_out) = (Vec::new(), 0);
        for batch in self.lake.collect(&sql).await? {
            let [devices, sessions, users, states] =
                [texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?, texts(&batch, 10)?];
            let [plugged, started, ended, unplugged, departure, energy, requested, register] =
                [3, 4, 5, 6, 7, 8, 9, 11].map(|column| numbers(&batch, column));
            let (plugged, started, ended, unplugged) = (plugged?, started?, ended?, unplugged?);
            let (departure, energy, requested, register) = (departure?, energy?, requested?, register?);
            let is_open = |row: usize| states[row].as_deref() == Some("open");
            let open: Vec<_> = (0..batch.num_rows()).filter(|row| is_open(*row)).collect();
            let since = open.iter().filter_map(|row| started[*row]).min().map(Micros);
            let open: Vec<_> = open.iter().filter_map(|row| sessions[*row].as_deref()).collect();
            let registers = match since {
                Some(since) => self.last_registers(&open, since, last).await?,
                None => BTreeMap::new(),
            };
            for row in 0..batch.num_rows() {
                let is_open = is_open(row);
                let so_far = || {
                    let last = registers.get(&(devices[row].clone()?, sessions[row].clone()?))?;
                    Some(last - register[row]?).filter(|wh| *wh >= 0)
                };
                let Some(drawn) = (if is_open { so_far() } else { energy[row] }) else {
                    left_out += 1;
                    continue;
                };
                let start = started[row].unwrap_or_default();
                let left = unplugged[row].or(ended[row].filter(|_| !is_open)).unwrap_or(last.0);
                stays.push(Past {
                    station: named(&devices[row])?,
                    session: named(&sessions[row])?,
                    user: users[row].as_ref().map(|user| user.parse()).transpose()?,
                    arrival: Micros(plugged[row].unwrap_or(start).min(start)),
                    start: Micros(start),
                    departure: Micros(left),
                    ended_by_itself: ended[row].is_some_and(|ended| Some(ended) != unplugged[row]),
                    drawn: WattHours(drawn),
                    requested: requested[row].map(WattHours),
                    estimated_departure: departure[row].map(Micros),
                });
            }
        }
        Ok((in_order(stays), left_out))
    }

    /// The last register that these stays showed, by charger and stay.
    async fn last_registers(
        &mut self,
        open: &[&str],
        since: Micros,
        last: Micros,
    ) -> anyhow::Result<BTreeMap<(String, String), i64>> {
        let names: Vec<_> = open.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
        let sql = format!(
            "SELECT device, session, last_value(register_wh ORDER BY at, sequence) AS wh FROM readings_raw \
             WHERE site = '{}' AND verdict = 'good' AND register_wh IS NOT NULL AND at >= '{}' AND at <= '{}' \
             AND session IN ({}) GROUP BY device, session",
            self.site,
            precise(since),
            precise(last),
            names.join(", ")
        );
        let mut registers = BTreeMap::new();
        for batch in self.lake.collect(&sql).await? {
            let stays = texts(&batch, 0)?.into_iter().zip(texts(&batch, 1)?);
            for ((device, session), register) in stays.zip(numbers(&batch, 2)?) {
                registers.extend(device.zip(session).zip(register));
            }
        }
        Ok(registers)
    }
}

/// In order of arrival; who is still there when the next one comes to its charger leaves then.
fn in_order(mut stays: Vec<Past>) -> Vec<Past> {
    stays.sort_by(|a, b| (a.arrival, &a.station).cmp(&(b.arrival, &b.station)));
    let mut next = std::collections::BTreeMap::new();
    for stay in stays.iter_mut().rev() {
        if let Some(next) = next.insert(stay.station.clone(), stay.arrival) {
            stay.departure = stay.departure.min(next);
        }
    }
    stays.retain(|stay| stay.departure > stay.arrival);
    stays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(station: &str, session: &str, arrival: i64, departure: i64) -> Past {
        Past {
            station: station.parse().expect("name"),
            session: session.parse().expect("name"),
            user: None,
            arrival: Micros(arrival),
            start: Micros(arrival),
            departure: Micros(departure),
            ended_by_itself: true,
            drawn: WattHours(0),
            requested: None,
            estimated_departure: None,
        }
    }

    #[test]
    fn of_two_stays_at_one_charger_the_first_ends_when_the_second_begins() {
        let stays = vec![
            past("B", "3", 15, 25),
            past("A", "1", 10, 99),
            past("A", "2", 20, 30),
            past("A", "0", 10, 12),
        ];
        let stays: Vec<_> =
            in_order(stays).into_iter().map(|s| (s.session.to_string(), s.departure.0)).collect();
        let expected = [("0", 12), ("3", 25), ("2", 30)];
        let last: Vec<_> = expected.map(|(name, at)| (name.to_owned(), at)).into();
        // Of two that come at the same moment one was never there.
        assert_eq!(stays.len(), 3, "{stays:?}");
        assert_eq!(&stays[1..], &last[1..]);
    }
}
