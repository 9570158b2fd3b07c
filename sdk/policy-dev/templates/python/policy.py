"""my-policy: who asks gets the minimum in order of the line; what is left is shared evenly.

The line: highest priority first, then order of registration. Whose minimum no longer fits on every phase of every circuit above
the charger waits. What the circuits then have left is divided among those who charge; what one can't take stays unused.

What the words mean stands in wit/load-policy.wit. Currents are mA. There is no clock, file or network: what reaches for one
fails. To write lines for people: from wit_world.imports import log, then log.write(log.Level.INFO, "text").
"""

from wattle.settings import Setting, faults, read, schema
from wit_world import WitWorld as Interface
from wit_world.imports.types import Allocation, ChargerState, Description, Phase, Plan

# What Python itself needs, bytes, and as large as the component may be: the site file has to grant it, as `policy_memory_mib = 32`.
MEMORY = 32 << 20

SETTINGS = [
    Setting("most_ma", 32000, 6000, 80000, "the most that a vehicle gets"),
    Setting("keep_ma", 0, 0, 1000000, "what stays unused on each phase of each circuit"),
]


class Room:
    """What a circuit still has, and how many that charge load it, on each phase."""

    def __init__(self, circuit, keep_ma):
        amounts = (circuit.available.l1, circuit.available.l2, circuit.available.l3)
        self.parent = circuit.parent
        self.left = {phase: amount - keep_ma for phase, amount in zip(Phase, amounts)}
        self.among = dict.fromkeys(Phase, 0)


class WitWorld(Interface):
    """The policy; the interface wants this name."""

    def describe(self):
        return Description("my-policy", "0.1.0", [], schema(SETTINGS), MEMORY, 0)

    def validate_settings(self, settings):
        return faults(SETTINGS, settings)

    def decide(self, snapshot, settings, state):
        """Raise componentize_py_types.Err("why") to decline."""
        values = read(SETTINGS, settings)
        line = [(index, charger) for index, charger in enumerate(snapshot.chargers) if asks(charger)]
        line.sort(key=lambda one: -one[1].priority)
        rooms = [Room(circuit, values["keep_ma"]) for circuit in snapshot.circuits]
        charging = [admit(rooms, charger, values["most_ma"]) for _, charger in line]
        allocations = []
        for (index, charger), charges in zip(line, charging):
            limit, reason = 0, "standby: its minimum doesn't fit"
            if charges:
                limit, reason = give(rooms, charger, values["most_ma"])
            allocations.append(Allocation(index, limit, reason))
        return Plan(allocations, b"")

    def migrate_state(self, from_version, state):
        return b""


def asks(charger):
    return charger.online and charger.state in (ChargerState.WAITING, ChargerState.CHARGING)


def least(charger):
    """The least multiple of its step that a charger charges with."""
    step = max(charger.step, 1)
    return -(-max(charger.minimum, 1) // step) * step


def above(rooms, charger):
    """The circuits from a charger's own up to the grid connection."""
    index = charger.circuit
    while index is not None:
        yield rooms[index]
        index = rooms[index].parent


def admit(rooms, charger, most_ma):
    """Takes the minimum of a charger out of every circuit above it, if it is there on every phase."""
    need = least(charger)
    fits = all(room.left[phase] >= need for room in above(rooms, charger) for phase in charger.phases)
    if not fits or need > min(charger.maximum, most_ma):
        return False
    for room in above(rooms, charger):
        for phase in charger.phases:
            room.left[phase] -= need
            room.among[phase] += 1
    return True


def give(rooms, charger, most_ma):
    """Its minimum with its even share of what is left, where that is least; and why."""
    share = min(room.left[phase] // room.among[phase] for room in above(rooms, charger) for phase in charger.phases)
    most, step, limit = min(charger.maximum, most_ma), max(charger.step, 1), least(charger) + share
    reason = "the most that it may have" if limit >= most else "an even share"
    return min(limit, most) // step * step, reason
