/* Settings from a table of whole numbers: their check, their JSON schema and their values. */
#ifndef WATTLE_SETTINGS_H
#define WATTLE_SETTINGS_H

#include "policy.h"

#define SETTINGS_MOST_FAULTS 20

typedef struct { wattle_text *at; uint32_t length; } settings_faults;

/* The JSON schema of a table. */
wattle_text settings_schema(const wattle_setting *table);

/* The values that a text (JSON; empty for none) gives a table, and each fault with path, value and reason. */
const int64_t *settings_read(const wattle_setting *table, wattle_text text, settings_faults *faults);

#endif
