/* The way between the interface's functions and a policy in C; see policy.h. */
#include "policy.h"

#include <stdarg.h>

#include "settings.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define PAGE 65536u

extern unsigned char __heap_base;

__attribute__((import_module("wattle:load-policy/log@1.0.0"), import_name("write")))
void wattle_import_log(int level, const char *bytes, uint32_t length);

/* ---- Memory: a heap that only grows ---- */

static uintptr_t heap_end;

static void *take(size_t size, size_t align) {
    uintptr_t start = heap_end ? heap_end : (uintptr_t)&__heap_base;
    start = (start + align - 1) & ~(uintptr_t)(align - 1);
    if (size > UINT32_MAX - start - PAGE) __builtin_trap();
    heap_end = start + size;
    size_t pages = (heap_end + PAGE - 1) / PAGE, have = __builtin_wasm_memory_size(0);
    if (pages > have && __builtin_wasm_memory_grow(0, pages - have) == (size_t)-1) __builtin_trap();
    return (void *)start;
}

void *wattle_new(size_t size) {
    return take(size, 8); /* memory that was just grown is zero, and none is used twice */
}

EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (size == 0) return (void *)align;
    if (size <= old_size) return old;
    unsigned char *new = take(size, align);
    for (size_t at = 0; at < old_size; at++) new[at] = ((unsigned char *)old)[at];
    return new;
}

/* ---- Texts ---- */

static size_t length_of(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

wattle_text wattle_join(const char *first, ...) {
    va_list parts;
    size_t length = 0;
    va_start(parts, first);
    for (const char *part = first; part; part = va_arg(parts, const char *)) length += length_of(part);
    va_end(parts);
    char *text = wattle_new(length + 1);
    size_t end = 0;
    va_start(parts, first);
    for (const char *part = first; part; part = va_arg(parts, const char *))
        for (size_t at = 0; part[at]; at++) text[end++] = part[at];
    va_end(parts);
    return (wattle_text){ text, length };
}

void wattle_log(int level, wattle_text line) {
    wattle_import_log(level, line.bytes, line.length);
}

void wattle_allocate(wattle_plan *plan, uint32_t charger, int32_t limit, wattle_text reason) {
    plan->allocations.at[plan->allocations.length++] = (wattle_allocation){ charger, limit, reason };
}

/* ---- The interface's functions ---- */

typedef struct {
    uint8_t is_error;
    union { wattle_plan plan; wattle_bytes bytes; wattle_text error; };
} result;

typedef struct { wattle_snapshot snapshot; wattle_text settings; wattle_bytes state; } decide_arguments;

static result answer;

static result *decline(const char *why) {
    answer = (result){ .is_error = 1, .error = { why, length_of(why) } };
    return &answer;
}

EXPORT("describe")
wattle_description *export_describe(void) {
    static wattle_description description;
    description.needs.at = (const uint8_t *)1;
    description.settings_schema = settings_schema(wattle_settings);
    wattle_describe(&description);
    return &description;
}

EXPORT("validate-settings")
settings_faults *export_validate_settings(const char *bytes, uint32_t length) {
    static settings_faults faults;
    settings_read(wattle_settings, (wattle_text){ bytes, length }, &faults);
    return &faults;
}

EXPORT("decide")
result *export_decide(decide_arguments *arguments) {
    settings_faults faults;
    const int64_t *settings = settings_read(wattle_settings, arguments->settings, &faults);
    if (faults.length) return decline("the settings are wrong; validate-settings says how");
    uint32_t chargers = arguments->snapshot.chargers.length;
    answer = (result){ 0 };
    answer.plan.allocations.at = wattle_new(chargers * sizeof(wattle_allocation) + 8);
    answer.plan.state.bytes = (const uint8_t *)1;
    const char *why = wattle_decide(&arguments->snapshot, settings, arguments->state, &answer.plan);
    return why ? decline(why) : &answer;
}

/* Starts anew after another version. */
EXPORT("migrate-state")
result *export_migrate_state(const char *version, uint32_t version_length, const uint8_t *state, uint32_t state_length) {
    (void)version, (void)version_length, (void)state, (void)state_length;
    answer = (result){ .bytes = { (const uint8_t *)1, 0 } };
    return &answer;
}
