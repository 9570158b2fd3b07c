/* What a load policy in C sees and gives: version 1 of the interface `wattle:load-policy`.
 *
 * The structures lie in memory as the interface's records do, so nothing is copied. What the words mean stands
 * beside each field in wit/load-policy.wit. Currents are mA, energies Wh, times microseconds since 1970.
 *
 * There is no standard library. Memory comes from `wattle_new` and is never given back: each call begins with a fresh
 * instance. Texts have a length; a zero ends only
 * those that `wattle_join` has made. */
#ifndef WATTLE_POLICY_H
#define WATTLE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { const char *bytes; uint32_t length; } wattle_text;
typedef struct { const uint8_t *bytes; uint32_t length; } wattle_bytes;

/* A text of a constant. */
#define WATTLE_TEXT(constant) ((wattle_text){ (constant), sizeof(constant) - 1 })

typedef struct { bool is_some; int32_t value; } wattle_maybe_s32;
typedef struct { bool is_some; uint32_t value; } wattle_maybe_u32;
typedef struct { bool is_some; int64_t value; } wattle_maybe_s64;
typedef struct { bool is_some; wattle_text value; } wattle_maybe_text;

/* A current on each phase of the site; `on` is indexed by a phase. */
typedef struct { int32_t on[3]; } wattle_per_phase;

typedef uint8_t wattle_phase; /* 0 is L1, 1 is L2, 2 is L3 */

enum {
    WATTLE_AVAILABLE,
    WATTLE_PLUGGED,
    WATTLE_WAITING,
    WATTLE_CHARGING,
    WATTLE_FINISHED,
    WATTLE_FAULTED,
};

typedef struct {
    wattle_text id;
    wattle_maybe_u32 parent;
    wattle_per_phase limit;
    wattle_per_phase available;
    wattle_per_phase uncontrolled;
    bool stale;
} wattle_circuit;

typedef struct {
    wattle_text id;
    wattle_maybe_text user;
    int64_t arrived;
    wattle_maybe_s64 departure;
    wattle_maybe_s64 requested;
    wattle_maybe_s64 needed;
    int64_t delivered;
    wattle_maybe_s32 state_of_charge;
} wattle_session;

typedef struct {
    wattle_text id;
    uint32_t circuit;
    struct { const wattle_phase *at; uint32_t length; } phases;
    uint8_t state;
    bool online;
    int32_t minimum;
    int32_t maximum;
    int32_t step;
    int32_t safe;
    int32_t setpoint;
    wattle_per_phase draw;
    int32_t priority;
    struct { bool is_some; wattle_session value; } session;
} wattle_charger;

typedef struct {
    int64_t start;
    int64_t step_ms;
    struct { const int64_t *at; uint32_t length; } values;
} wattle_series;

typedef struct { bool is_some; wattle_series value; } wattle_maybe_series;

typedef struct {
    wattle_text site;
    int64_t now;
    int64_t interval_ms;
    struct { const wattle_circuit *at; uint32_t length; } circuits;
    struct { const wattle_charger *at; uint32_t length; } chargers;
    struct { wattle_maybe_series price, surplus, grid_limit; } signals;
} wattle_snapshot;

typedef struct {
    uint32_t charger;
    int32_t limit;
    wattle_text reason;
} wattle_allocation;

typedef struct {
    struct { wattle_allocation *at; uint32_t length; } allocations;
    wattle_bytes state;
} wattle_plan;

enum { WATTLE_DEPARTURE, WATTLE_REQUESTED_ENERGY, WATTLE_STATE_OF_CHARGE, WATTLE_PRICE, WATTLE_SURPLUS, WATTLE_GRID_LIMIT };

typedef struct {
    wattle_text name;
    wattle_text version;
    struct { const uint8_t *at; uint32_t length; } needs;
    wattle_text settings_schema;
    uint64_t memory;
    uint64_t fuel;
} wattle_description;

/* A setting: a whole number. A table of them gives their check, their schema and their values. */
typedef struct {
    const char *name;
    int64_t standard;
    int64_t least;
    int64_t most;
    const char *about;
} wattle_setting;

/* ---- What a policy defines ---- */

/* Its settings, ended by one without a name. */
extern const wattle_setting wattle_settings[];

/* Who it is. `needs`, `memory` and `fuel` are zero, and the schema is that of the table, unless it sets them. */
void wattle_describe(wattle_description *description);

/* Proposes what each charger may draw: fills in the plan, which is empty. `settings` holds a value for each of the table.
 * Returns NULL, or a sentence that says why it declines. */
const char *wattle_decide(const wattle_snapshot *snapshot, const int64_t *settings, wattle_bytes state, wattle_plan *plan);

/* ---- What it may use ---- */

/* Memory, filled with zeros. */
void *wattle_new(size_t size);

/* Room in the plan for one charger more; there is at most one allocation for each. */
void wattle_allocate(wattle_plan *plan, uint32_t charger, int32_t limit, wattle_text reason);

enum { WATTLE_DEBUG, WATTLE_INFO, WATTLE_WARN };

/* A line for people; the host bounds lines in number and length. */
void wattle_log(int level, wattle_text line);

/* Texts put together: a run of `const char *`, ended by NULL. */
wattle_text wattle_join(const char *first, ...);

#endif
