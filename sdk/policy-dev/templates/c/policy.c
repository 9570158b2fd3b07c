/* my-policy: who asks gets the minimum in order of the line; what is left is shared evenly.
 *
 * The line: highest priority first, then order of registration. Whose minimum no longer fits on every phase of every
 * circuit above the charger waits. What the circuits then have left is divided among those who charge; what one can't take
 * stays unused. */
#include "wattle/policy.h"

enum { MOST_MA, KEEP_MA };

const wattle_setting wattle_settings[] = {
    [MOST_MA] = { "most_ma", 32000, 6000, 80000, "the most that a vehicle gets" },
    [KEEP_MA] = { "keep_ma", 0, 0, 1000000, "what stays unused on each phase of each circuit" },
    { 0 },
};

void wattle_describe(wattle_description *description) {
    description->name = WATTLE_TEXT("my-policy");
    description->version = WATTLE_TEXT("0.1.0");
}

/* What a circuit still has, and how many that charge load it, on each phase. */
typedef struct { int32_t left[3], among[3]; } room;

static bool asks(const wattle_charger *charger) {
    return charger->online && (charger->state == WATTLE_WAITING || charger->state == WATTLE_CHARGING);
}

/* The least multiple of the charger's step that it charges with; INT32_MAX if there is none within its range. */
static int32_t least(const wattle_charger *charger, int64_t most) {
    int64_t step = charger->step < 1 ? 1 : charger->step;
    int64_t minimum = charger->minimum < 1 ? 1 : charger->minimum;
    int64_t least = (minimum + step - 1) / step * step;
    return least <= charger->maximum && least <= most ? (int32_t)least : INT32_MAX;
}

/* For each circuit from the charger's up to the grid connection, and for each phase of the charger: */
#define FOR_EACH_ROOM(snapshot, charger, circuit, phase) \
    for (wattle_maybe_u32 circuit = { true, (charger)->circuit }; circuit.is_some; \
         circuit = (snapshot)->circuits.at[circuit.value].parent) \
        for (uint32_t n = 0, phase; n < (charger)->phases.length && (phase = (charger)->phases.at[n], true); n++)

static bool admit(const wattle_snapshot *snapshot, const wattle_charger *charger, int32_t need, room *rooms) {
    FOR_EACH_ROOM(snapshot, charger, circuit, phase)
        if (rooms[circuit.value].left[phase] < need) return false;
    FOR_EACH_ROOM(snapshot, charger, circuit, phase) {
        rooms[circuit.value].left[phase] -= need;
        rooms[circuit.value].among[phase]++;
    }
    return true;
}

static int32_t share(const wattle_snapshot *snapshot, const wattle_charger *charger, const room *rooms) {
    int32_t share = INT32_MAX;
    FOR_EACH_ROOM(snapshot, charger, circuit, phase) {
        int32_t each = rooms[circuit.value].left[phase] / rooms[circuit.value].among[phase];
        if (each < share) share = each;
    }
    return share;
}

/* The chargers that ask, as indexes, in the order of the line. */
static uint32_t *line(const wattle_snapshot *snapshot, uint32_t *length) {
    const wattle_charger *chargers = snapshot->chargers.at;
    uint32_t *line = wattle_new(snapshot->chargers.length * sizeof(uint32_t));
    for (uint32_t index = 0; index < snapshot->chargers.length; index++) {
        if (!asks(&chargers[index])) continue;
        uint32_t place = (*length)++;
        for (; place > 0 && chargers[line[place - 1]].priority < chargers[index].priority; place--) line[place] = line[place - 1];
        line[place] = index;
    }
    return line;
}

const char *wattle_decide(const wattle_snapshot *snapshot, const int64_t *settings, wattle_bytes state, wattle_plan *plan) {
    (void)state;
    uint32_t length = 0, *asking = line(snapshot, &length);
    room *rooms = wattle_new(snapshot->circuits.length * sizeof(room));
    for (uint32_t circuit = 0; circuit < snapshot->circuits.length; circuit++)
        for (int phase = 0; phase < 3; phase++)
            rooms[circuit].left[phase] = snapshot->circuits.at[circuit].available.on[phase] - (int32_t)settings[KEEP_MA];

    bool *charges = wattle_new(snapshot->chargers.length);
    for (uint32_t place = 0; place < length; place++) {
        const wattle_charger *charger = &snapshot->chargers.at[asking[place]];
        charges[asking[place]] = admit(snapshot, charger, least(charger, settings[MOST_MA]), rooms);
    }
    for (uint32_t place = 0; place < length; place++) {
        uint32_t index = asking[place];
        const wattle_charger *charger = &snapshot->chargers.at[index];
        if (!charges[index]) {
            wattle_allocate(plan, index, 0, WATTLE_TEXT("standby: its minimum doesn't fit"));
            continue;
        }
        int64_t most = charger->maximum < settings[MOST_MA] ? charger->maximum : settings[MOST_MA];
        int64_t limit = (int64_t)least(charger, most) + share(snapshot, charger, rooms);
        int64_t step = charger->step < 1 ? 1 : charger->step;
        bool is_most = limit >= most;
        limit = (is_most ? most : limit) / step * step;
        wattle_allocate(plan, index, (int32_t)limit, is_most ? WATTLE_TEXT("the most that it may have") : WATTLE_TEXT("an even share"));
    }
    return NULL;
}
