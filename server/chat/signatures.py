"""The tools that an answer may call, with the part of their schemas that can be enforced."""

from __future__ import annotations

from grammars.compiler import schema_text
from grammars.errors import TooCostly
from server.chat.request import ChatRequest
from server.chat.tools import Function
from server.structured_output.refusing import refusing
from server.structured_output.tool_calls import ToolCalls
from server.structured_output.tool_grammar import ToolSignature
from server.structured_output.tool_jobs import ToolSource, any_arguments

MAX_COSTLY = 3
"""Maximum number of tools of one request whose schemas break the limits of time and memory."""


def tool_signatures(body: ChatRequest, calls: ToolCalls) -> list[ToolSignature]:
    """The callable tools. Raises `InvalidRequest` for a schema that is wrong.

    With `strict`, a schema that can't be enforced is refused too. Otherwise such a part of the
    schema is left to the model.
    """
    signatures, num_costly = [], 0
    for index, tool in body.callable_tools():
        with refusing(f"tools.{index}.function.parameters"):
            try:
                signature = _signature(tool.function, calls)
            except TooCostly:
                num_costly += 1
                if tool.function.strict or num_costly > MAX_COSTLY:
                    raise
                signature = any_arguments(tool.function.name)
        signatures.append(signature)
    return signatures


def _signature(function: Function, calls: ToolCalls) -> ToolSignature:
    text = schema_text(function.parameters or {})
    return calls.signature(ToolSource(function.name, text, bool(function.strict)))
