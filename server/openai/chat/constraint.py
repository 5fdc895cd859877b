"""What the answer to a chat has to follow: a schema or a grammar, and the syntax of tool calls."""

from __future__ import annotations

from dataclasses import replace

from grammars import compiler
from grammars.constraint import Constraint, LazyConstraint
from grammars.errors import GrammarError
from grammars.json_schema.checker import check_schema
from server.context import ServerContext
from server.errors import InvalidRequest
from server.openai.chat.prompt import ChatPrompt
from server.openai.chat.request import ChatRequest
from server.openai.chat.thinking import after_thinking
from server.parsers.harmony import FINAL, NEXT_MESSAGE
from server.structured_output.from_request import schema_constraint
from server.structured_output.tool_grammar import (
    AnswerGrammar,
    CallRules,
    ToolSignature,
    first_mark,
)
from server.structured_output.vllm_field import ANY_OBJECT


def chat_constraint(
    body: ChatRequest, prompt: ChatPrompt, context: ServerContext, *, is_single_call: bool
) -> Constraint | None:
    """Compiled; thinking is left free. Raises `InvalidRequest` naming the field at fault."""
    schema = body.asked_schema()
    if prompt.has_tools:
        constraint = _tool_constraint(body, prompt, context, schema, is_single_call)
    elif schema is not None:
        constraint = _schema_constraint(prompt, context, *schema)
    elif body.structured_outputs is not None:
        constraint = _in_answer(prompt, body.structured_outputs.to_constraint(context.tokenizer))
    else:
        constraint = _in_answer(prompt, body.to_constraint(context))
    return after_thinking(constraint, body, prompt, context)


def _in_answer(prompt: ChatPrompt, constraint: Constraint | None) -> Constraint | None:
    """The same where answers have channels: from where the user's begins."""
    has_channels = prompt.template.tool_format.has_channels
    if constraint is None or isinstance(constraint, LazyConstraint) or not has_channels:
        return constraint
    return compiler.lazy(constraint, words=(FINAL,), keep_trigger=False)


def _schema_constraint(
    prompt: ChatPrompt, context: ServerContext, schema: object, param: str
) -> Constraint:
    if prompt.template.tool_format.has_channels:
        return _compiled(prompt, context, calls=None, schema=_checked(schema, param))
    if schema == ANY_OBJECT:
        return compiler.from_json_object()
    return schema_constraint(schema, param=param)


def _tool_constraint(
    body: ChatRequest,
    prompt: ChatPrompt,
    context: ServerContext,
    schema: tuple[object, str] | None,
    is_single_call: bool,
) -> Constraint | None:
    is_lazy = body.grammar_lazy and "grammar_lazy"
    if is_lazy or body.grammar or (body.structured_outputs and schema is None):
        param = is_lazy or ("grammar" if body.grammar else "structured_outputs")
        raise InvalidRequest(f"'{param}' can't be combined with 'tools'", param=param)
    calls = _call_rules(body, prompt, is_single_call)
    text = _checked(*schema) if schema and not body.must_call else None
    if calls is None and text is None:
        return None
    if text is None and calls is not None and not body.must_call:
        return _calls_in_text(calls, prompt, context)
    return _compiled(prompt, context, calls=calls, schema=text)


def _calls_in_text(calls: CallRules, prompt: ChatPrompt, context: ServerContext) -> Constraint:
    """Calls that may come anywhere in text, or not at all.

    Where the calls' first mark is one token, the text before it needs no matching. A mark of
    several tokens could share its last one with what follows, so there the text is matched too.
    """
    mark = first_mark(calls.syntax)
    tokens = context.tokenizer.tokenize(mark, add_special=False, parse_special=True)
    if len(tokens) != 1:
        return _compiled(prompt, context, calls=calls, schema=None)
    required = replace(calls, is_required=True)
    constraint = _compiled(prompt, context, calls=required, schema=None)
    return compiler.lazy(constraint, tokens=tuple(tokens))


def _call_rules(body: ChatRequest, prompt: ChatPrompt, is_single: bool) -> CallRules | None:
    """How calls are constrained; None where they can't be told from text in time."""
    format_ = prompt.template.tool_format
    syntax = format_.syntax
    is_told_late = syntax.is_bare or format_.has_channels
    if is_told_late and not body.must_call and body.asked_schema() is None:
        return None
    tools = [
        ToolSignature(
            tool.function.name,
            _checked(
                {"type": "object", **(tool.function.parameters or {})},
                f"tools.{index}.function.parameters",
            ),
        )
        for index, tool in body.callable_tools()
    ]
    return CallRules(syntax=syntax, tools=tools, is_required=body.must_call, is_single=is_single)


def _compiled(
    prompt: ChatPrompt, context: ServerContext, *, calls: CallRules | None, schema: str | None
) -> Constraint:
    has_channels = prompt.template.tool_format.has_channels
    text = AnswerGrammar(context.tokenizer).write(
        calls=calls,
        schema=schema,
        lead=NEXT_MESSAGE if has_channels else "",
        before_schema=FINAL if has_channels else "",
    )
    try:
        return compiler.from_lark(text)
    except GrammarError as error:
        param = "tools" if calls else "response_format"
        raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error


def _checked(schema: object, param: str) -> str:
    """The schema's compact text, once it compiles on its own, so that an error names its field."""
    schema_constraint(schema, param=param)
    return check_schema(schema)
