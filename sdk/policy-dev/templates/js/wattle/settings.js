// Settings from a table of whole numbers: their check, their JSON schema and their values.
// A row: { name, standard, least, most, about }.

const MOST_FAULTS = 20;

/** Every fault of a text (JSON; empty for none), each with path, value and reason. */
export function faults(table, text) {
  const given = parse(text);
  if (given === undefined) return [`settings: \`${start(text.trim())}\` is no JSON object`];
  const names = table.map(({ name }) => name).join(', ');
  const found = Object.entries(given).flatMap(([name, value]) => {
    const row = table.find((row) => row.name === name);
    if (!row) return [`${start(name)}: there is no such setting; there are ${names}`];
    if (Number.isSafeInteger(value) && value >= row.least && value <= row.most) return [];
    return [`${name}: \`${start(JSON.stringify(value))}\` is not a whole number from ${row.least} to ${row.most}`];
  });
  return found.slice(0, MOST_FAULTS);
}

/** The value of each setting. */
export function read(table, text) {
  if (faults(table, text).length) throw 'the settings are wrong; validate-settings says how';
  const given = parse(text);
  return Object.fromEntries(table.map(({ name, standard }) => [name, given[name] ?? standard]));
}

/** The JSON schema of a table. */
export function schema(table) {
  const property = ({ least, most, standard, about }) =>
    ({ type: 'integer', minimum: least, maximum: most, default: standard, description: about });
  const properties = Object.fromEntries(table.map((row) => [row.name, property(row)]));
  return JSON.stringify({ type: 'object', additionalProperties: false, properties });
}

function parse(text) {
  try {
    const given = text.trim() === '' ? {} : JSON.parse(text) ?? {};
    return typeof given === 'object' && !Array.isArray(given) ? given : undefined;
  } catch {
    return undefined;
  }
}

function start(text) {
  return text.slice(0, 40);
}
