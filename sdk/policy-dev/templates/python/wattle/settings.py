"""Settings from a table of whole numbers: their check, their JSON schema and their values."""

import json
from dataclasses import dataclass

from componentize_py_types import Err

MOST_FAULTS = 20


@dataclass(frozen=True)
class Setting:
    """A whole number."""

    name: str
    standard: int
    least: int
    most: int
    about: str

    def fault(self, value):
        if type(value) is int and self.least <= value <= self.most:
            return None
        return f"{self.name}: `{json.dumps(value)[:40]}` is not a whole number from {self.least} to {self.most}"


def faults(table, text):
    """Every fault of a text (JSON; empty for none), each with path, value and reason."""
    given = parse(text)
    if given is None:
        return [f"settings: `{text.strip()[:40]}` is no JSON object"]
    rows = {setting.name: setting for setting in table}
    unknown = "{}: there is no such setting; there are " + ", ".join(rows)
    found = [rows[name].fault(value) if name in rows else unknown.format(name[:40]) for name, value in given.items()]
    return [fault for fault in found if fault][:MOST_FAULTS]


def read(table, text):
    """The value of each setting, by its name."""
    if faults(table, text):
        raise Err("the settings are wrong; validate-settings says how")
    given = parse(text)
    return {setting.name: given.get(setting.name, setting.standard) for setting in table}


def schema(table):
    """The JSON schema of a table."""
    properties = {
        setting.name: {
            "type": "integer",
            "minimum": setting.least,
            "maximum": setting.most,
            "default": setting.standard,
            "description": setting.about,
        }
        for setting in table
    }
    return json.dumps({"type": "object", "additionalProperties": False, "properties": properties}, separators=(",", ":"))


def parse(text):
    """The object that a text is; None if it is none."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError:
        return None
    given = {} if given is None else given
    return given if isinstance(given, dict) else None
