// my-policy: who asks gets the minimum in order of the line; what is left is shared evenly.
//
// The line: highest priority first, then order of registration. Whose minimum no longer fits on every phase of every
// circuit above the charger waits. What the circuits then have left is divided among those who charge; what one can't take
// stays unused.
//
// What the words mean stands in wit/load-policy.wit. Currents are mA; every amount is a whole Number; what isn't there is
// null. There is no clock, file or network: Date fails. To write lines for people: import { write } from
// 'wattle:load-policy/log@1.0.0', then write('info', 'text').

import { faults, read, schema } from './wattle/settings.js';

const SETTINGS = [
  { name: 'most_ma', standard: 32000, least: 6000, most: 80000, about: 'the most that a vehicle gets' },
  { name: 'keep_ma', standard: 0, least: 0, most: 1000000, about: 'what stays unused on each phase of each circuit' },
];

/** Who it is, and what it asks for: 0 is the host's default. */
export function describe() {
  return { name: 'my-policy', version: '0.1.0', needs: [], settingsSchema: schema(SETTINGS), memory: 0, fuel: 0 };
}

/** Every fault of the settings, each with path, value and reason. */
export function validateSettings(text) {
  return faults(SETTINGS, text);
}

/** What each charger may draw. Throw a text to decline. */
export function decide(snapshot, settings, state) {
  const { most_ma, keep_ma } = read(SETTINGS, settings);
  const line = snapshot.chargers.map((charger, index) => ({ charger, index })).filter(({ charger }) => asks(charger));
  line.sort((a, b) => b.charger.priority - a.charger.priority || a.index - b.index);

  const rooms = snapshot.circuits.map(({ parent, available }) => ({
    parent,
    left: { l1: available.l1 - keep_ma, l2: available.l2 - keep_ma, l3: available.l3 - keep_ma },
    among: { l1: 0, l2: 0, l3: 0 },
  }));
  for (const one of line) {
    one.most = Math.min(one.charger.maximum, most_ma);
    one.least = roundUp(Math.max(one.charger.minimum, 1), step(one.charger));
    one.charges = one.least <= one.most && admit(rooms, one);
  }
  const allocations = line.map((one) => {
    if (!one.charges) return { charger: one.index, limit: 0, reason: "standby: its minimum doesn't fit" };
    const limit = one.least + share(rooms, one);
    const isMost = limit >= one.most;
    const reason = isMost ? 'the most that it may have' : 'an even share';
    return { charger: one.index, limit: roundDown(Math.min(limit, one.most), step(one.charger)), reason };
  });
  return { allocations, state: new Uint8Array() };
}

/** Takes over the state that another version has left: this one keeps none. */
export function migrateState(fromVersion, state) {
  return new Uint8Array();
}

function asks(charger) {
  return charger.online && (charger.state === 'waiting' || charger.state === 'charging');
}

const step = (charger) => Math.max(charger.step, 1);
const roundDown = (amount, step) => amount - (amount % step);
const roundUp = (amount, step) => roundDown(amount + step - 1, step);

/** The circuits from a charger's own up to the grid connection. */
function above(rooms, charger) {
  const path = [];
  for (let index = charger.circuit; index !== null; index = rooms[index].parent) path.push(rooms[index]);
  return path;
}

/** Takes the minimum of a charger out of every circuit above it, if it is there on every phase. */
function admit(rooms, { charger, least }) {
  const path = above(rooms, charger);
  if (!path.every((room) => charger.phases.every((phase) => room.left[phase] >= least))) return false;
  for (const room of path) {
    for (const phase of charger.phases) {
      room.left[phase] -= least;
      room.among[phase] += 1;
    }
  }
  return true;
}

/** Its even share of what is left, where that is least. */
function share(rooms, { charger }) {
  const shares = above(rooms, charger).flatMap((room) =>
    charger.phases.map((phase) => Math.floor(room.left[phase] / room.among[phase])));
  return Math.min(...shares);
}
