"""Tool calls for models whose template has none: the system prompt describes tools and call
syntax."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from server.parsers.syntax import CallSyntax


def instructions(tools: Sequence[Mapping[str, Any]], syntax: CallSyntax) -> str:
    """The text about `tools` (OpenAI's definitions) for the system prompt."""
    listed = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    example = syntax.write([("function", '{"parameter": "value"}')])
    return (
        "You can call these functions, each described by one line of JSON:\n"
        f"{listed}\n\n"
        "To call a function, answer with nothing but text of this form, and wait for the result:\n"
        f"{example}\n"
        "When no function is needed, answer in plain text."
    )


def describe_calls(functions: Sequence[Mapping[str, Any]], syntax: CallSyntax) -> str:
    """Earlier calls, written in the form that `instructions` ask for."""
    return syntax.write([(function["name"], _arguments(function)) for function in functions])


def describe_result(call_id: str, content: str) -> str:
    """The result of a call, as a user's message."""
    return f"Result of the function call {call_id}:\n{content}"


def _arguments(function: Mapping[str, Any]) -> str:
    arguments = function.get("arguments") or "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
