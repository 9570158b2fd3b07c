/* See settings.h. Reads a flat JSON object, which is all that settings are. */
#include "settings.h"

typedef struct { const char *bytes; uint32_t length, at; } reader;

/* ---- Texts ---- */

static const char *in_full(int64_t number) {
    char *end = (char *)wattle_new(24) + 23;
    uint64_t size = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do *--end = '0' + size % 10; while (size /= 10);
    if (number < 0) *--end = '-';
    return end;
}

/* A part of a text, at most 40 bytes of it, ended by a zero. */
static const char *start_of(const char *bytes, uint32_t length) {
    uint32_t most = length > 40 ? 40 : length;
    while (most < length && most > 0 && ((unsigned char)bytes[most] & 0xc0) == 0x80) most--;
    char *text = wattle_new(most + 1);
    for (uint32_t at = 0; at < most; at++) text[at] = bytes[at];
    return text;
}

static bool is_name(const char *name, const char *bytes, uint32_t length) {
    uint32_t at = 0;
    while (at < length && name[at] && name[at] == bytes[at]) at++;
    return at == length && !name[at];
}

static const char *list(const char *before, const char *more) {
    return before ? wattle_join(before, ", ", more, NULL).bytes : more;
}

static void fault(settings_faults *faults, wattle_text text) {
    if (!faults->at) faults->at = wattle_new(SETTINGS_MOST_FAULTS * sizeof(wattle_text));
    if (faults->length < SETTINGS_MOST_FAULTS) faults->at[faults->length++] = text;
}

/* ---- JSON ---- */

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_space(reader *in) {
    while (in->at < in->length && is_space(in->bytes[in->at])) in->at++;
}

static bool take(reader *in, char mark) {
    skip_space(in);
    bool is_there = in->at < in->length && in->bytes[in->at] == mark;
    in->at += is_there;
    return is_there;
}

/* Passes over a text; what stands between its quotes. Escapes are left as they are: no setting's name has any. */
static bool string(reader *in, const char **bytes, uint32_t *length) {
    if (!take(in, '"')) return false;
    *bytes = in->bytes + in->at;
    for (uint32_t start = in->at; in->at < in->length; in->at++) {
        if (in->bytes[in->at] == '\\') in->at++;
        else if (in->bytes[in->at] == '"') {
            *length = in->at++ - start;
            return true;
        }
    }
    return false;
}

/* Passes over a value of any kind. */
static bool skip_value(reader *in) {
    const char *bytes;
    uint32_t length, depth = 0, start;
    do {
        skip_space(in);
        if (in->at >= in->length) return false;
        char next = in->bytes[in->at];
        if (next == '"') {
            if (!string(in, &bytes, &length)) return false;
        } else if (next == '{' || next == '[') {
            depth++, in->at++;
        } else if (depth && (next == '}' || next == ']')) {
            depth--, in->at++;
        } else if (depth && (next == ',' || next == ':')) {
            in->at++;
        } else {
            for (start = in->at; in->at < in->length; in->at++) {
                next = in->bytes[in->at];
                if (next == ',' || next == '}' || next == ']' || next == ':' || is_space(next)) break;
            }
            if (in->at == start) return false;
        }
    } while (depth);
    return true;
}

/* A whole number of at most 18 digits: more than any setting has, and too few to overflow. */
static bool whole_number(const char *bytes, uint32_t length, int64_t *number) {
    uint32_t sign = length && bytes[0] == '-';
    if (length == sign || length - sign > 18) return false;
    *number = 0;
    for (uint32_t at = sign; at < length; at++) {
        if (bytes[at] < '0' || bytes[at] > '9') return false;
        *number = *number * 10 + (bytes[at] - '0');
    }
    if (sign) *number = -*number;
    return true;
}

/* ---- The table ---- */

static void member(const wattle_setting *table, int64_t *values, bool *given, reader *in, const char *name, uint32_t name_length, settings_faults *faults) {
    skip_space(in);
    const char *names = NULL, *written = in->bytes + in->at;
    uint32_t start = in->at;
    int64_t number;
    skip_value(in);
    const char *shown = start_of(written, in->at - start);
    for (uint32_t index = 0; table[index].name; index++) {
        const wattle_setting *one = &table[index];
        names = list(names, one->name);
        if (!is_name(one->name, name, name_length)) continue;
        if (given[index]) fault(faults, wattle_join(one->name, ": `", shown, "` is given twice", NULL));
        else if (whole_number(written, in->at - start, &number) && number >= one->least && number <= one->most) values[index] = number;
        else fault(faults, wattle_join(one->name, ": `", shown, "` is not a whole number from ", in_full(one->least), " to ", in_full(one->most), NULL));
        given[index] = true;
        return;
    }
    fault(faults, wattle_join(start_of(name, name_length), ": there is no such setting; there are ", names ? names : "none", NULL));
}

static void object(const wattle_setting *table, int64_t *values, bool *given, reader *in, settings_faults *faults) {
    const char *name;
    uint32_t name_length;
    bool is_whole = take(in, '{');
    if (is_whole && !take(in, '}')) {
        do {
            reader look;
            is_whole = string(in, &name, &name_length) && take(in, ':') && (look = *in, skip_value(&look));
            if (is_whole) member(table, values, given, in, name, name_length, faults);
        } while (is_whole && take(in, ','));
        is_whole = is_whole && take(in, '}');
    }
    skip_space(in);
    if (!is_whole || in->at < in->length)
        fault(faults, wattle_join("settings: `", start_of(in->bytes, in->length), "` is no JSON object", NULL));
}

const int64_t *settings_read(const wattle_setting *table, wattle_text text, settings_faults *faults) {
    uint32_t count = 0;
    while (table[count].name) count++;
    int64_t *values = wattle_new(count * sizeof(int64_t));
    bool *given = wattle_new(count);
    for (uint32_t index = 0; index < count; index++) values[index] = table[index].standard;
    faults->at = NULL, faults->length = 0;
    while (text.length && is_space(text.bytes[text.length - 1])) text.length--;
    reader in = { text.bytes, text.length, 0 };
    skip_space(&in);
    if (in.at < in.length && !is_name("null", in.bytes + in.at, in.length - in.at)) object(table, values, given, &in, faults);
    if (!faults->at) faults->at = (wattle_text *)4;
    return values;
}

wattle_text settings_schema(const wattle_setting *table) {
    const char *all = "";
    for (uint32_t index = 0; table[index].name; index++) {
        const wattle_setting *one = &table[index];
        all = wattle_join(all, index ? "," : "", "\"", one->name, "\":{\"type\":\"integer\",\"minimum\":", in_full(one->least), ",\"maximum\":",
            in_full(one->most), ",\"default\":", in_full(one->standard), ",\"description\":\"", one->about, "\"}", NULL).bytes;
    }
    return wattle_join("{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{", all, "}}", NULL);
}
