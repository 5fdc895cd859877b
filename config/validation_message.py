"""Turns a validation error of pydantic into one line that a user understands."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from config.sources import Given

_MESSAGES = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of {expected}",
    "value_error": "{error}",
    "string_type": "must be text",
    "path_type": "must be a path",
}
_LONGEST_VALUE = 60


def describe(error: ErrorDetails, given: Mapping[str, Given]) -> str:
    """The line for one error. It begins with the name under which the value was given."""
    source = given[str(error["loc"][0])]
    message = _MESSAGES.get(error["type"])
    if message is None:
        text = error["msg"][:1].lower() + error["msg"][1:]
    else:
        text = message.format_map(_plain(error.get("ctx", {})))
    return f"{source.name} {text}, got {_shown(_innermost(source.value, error))}"


def _plain(context: Mapping[str, object]) -> dict[str, object]:
    """pydantic's context, with its list of choices without quotes."""
    plain = dict(context)
    if isinstance(expected := plain.get("expected"), str):
        plain["expected"] = expected.replace("'", "")
    return plain


def _innermost(value: object, error: ErrorDetails) -> object:
    """The value that the user wrote, or of a list the one item that is wrong."""
    return error["input"] if len(error["loc"]) > 1 else value


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    text = str(value)
    if not text or text != text.strip() or not text.isprintable():
        text = repr(text)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "..."
