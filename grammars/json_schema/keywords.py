"""Tables of JSON Schema keywords: how each is treated, and what its value must look like."""

from __future__ import annotations

import enum
from collections.abc import Callable

from grammars import limits

TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")

FORMATS = (
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "time",
    "unknown",
    "uri",
    "uuid",
)
"""Formats of strings that llguidance enforces."""

_MONTH = "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_YEAR = "(?:[1-9][0-9]{3}|0(?:[1-9][0-9]{2}|0(?:[1-9][0-9]|0[1-9])))"
_DATE = f"(?:{_YEAR}-(?:{_MONTH}|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
_HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_HOUR}:[0-5][0-9](?:\\.[0-9]{{1,9}})?(?:[zZ]|[-+]{_HOUR})"

EXACT_FORMATS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}[tT]{_TIME}$"}
"""Formats that llguidance enforces too loosely: it takes 29 February of any year, and a leap second
in any minute. These patterns allow the real days of February, no leap second and no year 0, which
few libraries read."""

MAX_FORMAT_LENGTHS = {"email": 254, "hostname": 253}
"""Maximum length in characters of texts of a format (RFC 5321, RFC 1123). llguidance sets no
maximum, so a confused model would continue for ever."""

FREE_FORMATS = frozenset(
    {
        "binary",
        "directory-path",
        "file-path",
        "html",
        "markdown",
        "multiline",
        "password",
        "path",
        "text",
        "textarea",
    }
)
"""Formats that say how to show or read a string, and exclude no string."""


class Nesting(enum.Enum):
    """How schemas are nested in a keyword's value."""

    NOTHING = enum.auto()
    SCHEMA = enum.auto()
    SCHEMAS = enum.auto()
    """A list of schemas."""
    MAP = enum.auto()
    """An object whose values are schemas."""


APPLICATORS = {
    "$defs": Nesting.MAP,
    "definitions": Nesting.MAP,
    "properties": Nesting.MAP,
    "patternProperties": Nesting.MAP,
    "additionalProperties": Nesting.SCHEMA,
    "additionalItems": Nesting.SCHEMA,
    "items": Nesting.SCHEMA,
    "prefixItems": Nesting.SCHEMAS,
    "allOf": Nesting.SCHEMAS,
    "anyOf": Nesting.SCHEMAS,
    "oneOf": Nesting.SCHEMAS,
}
"""Supported keywords whose value contains schemas; `items` may also be a list, as before 2020-12.
"""


def _is_count(value: object) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)  # type: ignore[operator,call-overload]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_types(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(kind in TYPES for kind in types)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and len(value.encode()) <= limits.MAX_REGEX_BYTES


VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    "$ref": (_is_text, "a text"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list that is not empty"),
    "exclusiveMaximum": (lambda v: _is_number(v) or isinstance(v, bool), "a number"),
    "exclusiveMinimum": (lambda v: _is_number(v) or isinstance(v, bool), "a number"),
    "format": (_is_text, "a text"),
    "maxItems": (_is_count, "a count"),
    "maxLength": (_is_count, "a count"),
    "maxProperties": (_is_count, "a count"),
    "maximum": (_is_number, "a number"),
    "minItems": (_is_count, "a count"),
    "minLength": (_is_count, "a count"),
    "minProperties": (_is_count, "a count"),
    "minimum": (_is_number, "a number"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above zero"),  # type: ignore[operator]
    "pattern": (_is_pattern, f"a text of at most {limits.MAX_REGEX_BYTES} bytes"),
    "required": (_is_texts, "a list of texts"),
    "type": (_is_types, f"one or more of {', '.join(TYPES)}"),
}
"""Supported keywords whose value is checked here: the check, and what a valid value is called."""

COUNTS = frozenset(name for name, (_, what) in VALUES.items() if what == "a count")

SUPPORTED = frozenset({*APPLICATORS, *VALUES, "const"})

UNSUPPORTED = frozenset(
    {
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "disallow",
        "divisibleBy",
        "else",
        "extends",
        "if",
        "maxContains",
        "minContains",
        "not",
        "nullable",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords, of any draft and of OpenAPI, that restrict what is valid and can't be enforced."""


def has_no_effect(keyword: str, schema: dict[str, object]) -> bool:
    """Whether an unsupported keyword of this schema excludes nothing and can be removed."""
    value = schema[keyword]
    match keyword:
        case "uniqueItems" | "nullable":
            return value is False
        case "not":
            return value is False
        case "propertyNames":
            return value is True or value in ({}, {"type": "string"})
        case "unevaluatedItems" | "unevaluatedProperties":
            return value is True or value == {}
        case "dependentRequired" | "dependentSchemas" | "dependencies":
            return value == {}
        case "if":
            return "then" not in schema and "else" not in schema
        case "then" | "else":
            return "if" not in schema
        case "minContains" | "maxContains":
            return "contains" not in schema
        case _:
            return False


def intended_keyword(keyword: str) -> str | None:
    """The keyword that an unknown one misspells, if they differ only in letter case and `_`."""
    return _BY_LETTERS.get(keyword.replace("_", "").replace("-", "").lower())


_BY_LETTERS = {name.lower(): name for name in SUPPORTED | UNSUPPORTED if name.isalpha()}
