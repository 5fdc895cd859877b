"""`POST /v1/grammars/check`: whether a constraint can be enforced, and where it can't."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from grammars.errors import GrammarError
from server.bodies.request_model import RequestModel
from server.context import context_of
from server.errors import InvalidRequest
from server.http.json_response import JsonResponse
from server.model.tokenizer import Tokenizer
from server.requests.body import read_body
from server.requests.threads import in_thread
from server.structured_output.compile import compile_format
from server.structured_output.output_format import (
    Kind,
    OutputFormat,
    grammar_format,
    only_format,
    schema_format,
)


class GrammarCheck(RequestModel):
    """`POST /v1/grammars/check`: exactly one of the fields."""

    json_schema: Any = None
    grammar: Annotated[StrictStr, Field(min_length=1)] | None = None
    """GBNF text, or the name of a shipped grammar."""
    regex: Annotated[StrictStr, Field(min_length=1)] | None = None

    def output_format(self) -> OutputFormat:
        """What an answer would have to follow. Raises `InvalidRequest` for none and for two."""
        given: list[OutputFormat] = []
        if self.json_schema is not None:
            given.append(schema_format(self.json_schema, "json_schema"))
        if self.grammar is not None:
            given.append(grammar_format(self.grammar, "grammar"))
        if self.regex is not None:
            given.append(OutputFormat(Kind.REGEX, self.regex, "regex"))
        if not given:
            raise InvalidRequest(
                "give one of 'json_schema', 'grammar' and 'regex'", param="grammar"
            )
        return only_format(given)


async def check_grammar(request: Request) -> Response:
    """Whether answers can follow a schema, a grammar or an expression; if not, why and where.

    The place is a JSON pointer into the schema, or `line:column` in a grammar.
    """
    body = await read_body(request, GrammarCheck)
    tokenizer = context_of(request).tokenizer
    format_ = body.output_format()
    error = await in_thread(request, _error, format_, tokenizer, is_structured=True)
    if error is None:
        return JsonResponse({"valid": True})
    return JsonResponse({"valid": False, "message": error.message, "place": error.path})


def _error(format_: OutputFormat, tokenizer: Tokenizer) -> GrammarError | None:
    """What the compiler says against the format."""
    try:
        compile_format(format_, tokenizer)
    except GrammarError as error:
        return error
    return None
