"""The constraint of a chat's answer: its output format, tool calls, and thinking before them."""

from __future__ import annotations

from msgspec.structs import replace

from grammars import compiler
from grammars.constraint import Constraint, LazyConstraint
from server.chat.prompt import ChatPrompt
from server.chat.request import ChatRequest
from server.chat.thinking import after_thinking, thinking_budget
from server.context import ServerContext
from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer
from server.parsers.harmony import FINAL, NEXT_MESSAGE
from server.structured_output.compile import compile_request_format
from server.structured_output.output_format import Kind, OutputFormat
from server.structured_output.refusing import refusing
from server.structured_output.tool_calls import ToolCalls
from server.structured_output.tool_grammar import ToolSignature, first_mark
from server.structured_output.tool_jobs import AnswerSource


def chat_constraint(
    body: ChatRequest,
    prompt: ChatPrompt,
    context: ServerContext,
    *,
    calls: ToolCalls,
    tools: list[ToolSignature],
    is_single_call: bool,
) -> Constraint | None:
    """The compiled constraint. Thinking is left free up to its budget.

    `calls` builds constraints of calls. `tools` are the callable tools; none if calls are free.

    Raises `InvalidRequest` naming the field that can't be used.
    """
    format_ = body.output_format()
    if prompt.has_tools:
        constraint = None
        if tools:
            source = _source(
                prompt, tools=tools, is_required=body.must_call, is_single=is_single_call
            )
            constraint = _with_tools(body, format_, prompt, context.tokenizer, calls, source)
    else:
        constraint = _without_tools(format_, prompt, context, calls)
    budget = thinking_budget(body, prompt, context.settings)
    return after_thinking(constraint, prompt, budget, context.tokenizer)


def _without_tools(
    format_: OutputFormat, prompt: ChatPrompt, context: ServerContext, calls: ToolCalls
) -> Constraint | None:
    """The constraint of the format. If answers have channels, it begins in the user's channel."""
    has_channels = prompt.template.tool_format.has_channels and prompt.header != FINAL
    if has_channels and format_.schema is not None:
        return _compiled(calls, _source(prompt, schema=_checked(format_)))
    constraint = compile_request_format(format_, context.tokenizer) or context.default_constraint
    if constraint is None or isinstance(constraint, LazyConstraint) or not has_channels:
        return constraint
    return compiler.lazy(constraint, words=(FINAL,), keep_trigger=False)


def calls_are_free(body: ChatRequest, prompt: ChatPrompt) -> bool:
    """Whether nothing constrains the calls of an answer. Raises `InvalidRequest`.

    With tools, an answer can follow a schema, but no other format.
    """
    format_ = body.output_format()
    param = ""
    if body.grammar_lazy:
        param = "grammar_lazy"
    elif format_.kind is not Kind.TEXT and format_.schema is None:
        param = format_.field
    if param:
        raise InvalidRequest(f"'{param}' can't be combined with 'tools'", param=param)
    tool_format = prompt.template.tool_format
    is_told_late = tool_format.syntax.is_bare or tool_format.has_channels
    return is_told_late and not (body.must_call or format_.schema is not None)


def _with_tools(
    body: ChatRequest,
    format_: OutputFormat,
    prompt: ChatPrompt,
    tokenizer: Tokenizer,
    calls: ToolCalls,
    source: AnswerSource,
) -> Constraint | None:
    """The constraint of an answer that may call the tools of `source`, by three facts:

    must call | schema | calls told late | the answer is
    yes       | any    | any             | calls
    no        | yes    | any             | calls, or JSON of the schema
    no        | no     | yes             | free: the calls can't be told from text in time
    no        | no     | no              | text, and calls in it follow the tools' schemas
    """
    if body.must_call:
        return _compiled(calls, source)
    if format_.schema is not None:
        return _compiled(calls, replace(source, schema=_checked(format_)))
    return _calls_in_text(prompt, tokenizer, calls, source)


def _calls_in_text(
    prompt: ChatPrompt, tokenizer: Tokenizer, calls: ToolCalls, source: AnswerSource
) -> Constraint:
    """Calls that may come anywhere in text, or not at all.

    Where the calls' first mark is one token, the text before it needs no matching. A mark of
    several tokens could share its last one with what follows, so there the text is matched too.
    """
    mark = first_mark(prompt.template.tool_format.syntax)
    tokens = tokenizer.tokenize(mark, add_special=False, parse_special=True)
    if len(tokens) != 1:
        return _compiled(calls, source)
    constraint = _compiled(calls, replace(source, is_required=True))
    return compiler.lazy(constraint, tokens=tuple(tokens))


def _source(
    prompt: ChatPrompt,
    *,
    tools: list[ToolSignature] | None = None,
    is_required: bool = False,
    is_single: bool = False,
    schema: str | None = None,
) -> AnswerSource:
    format_ = prompt.template.tool_format
    return AnswerSource(
        family=format_.name,
        tools=tools,
        is_required=is_required,
        is_single=is_single,
        schema=schema,
        lead=NEXT_MESSAGE if format_.has_channels else "",
        before_schema=FINAL if format_.has_channels else "",
    )


def _compiled(calls: ToolCalls, source: AnswerSource) -> Constraint:
    with refusing("tools" if source.tools else "response_format"):
        return calls.constraint(source)


def _checked(format_: OutputFormat) -> str:
    """The compact text of a schema that compiles on its own, so that an error names its field."""
    with refusing(format_.param):
        return compiler.compact_schema(format_.schema)
