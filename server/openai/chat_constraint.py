"""What the answer to a chat has to follow: a schema or a grammar, and the syntax of tool calls."""

from __future__ import annotations

from dataclasses import replace

from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from grammars.json_schema import check_schema
from server.context import ServerContext
from server.errors import InvalidRequest
from server.openai.chat_prompt import ChatPrompt
from server.openai.chat_request import ChatRequest
from server.openai.response_format import ANY_OBJECT
from server.sampling_fields import schema_constraint
from server.tool_calls.control_tokens import control_token
from server.tool_calls.grammar import (
    AnswerGrammar,
    CallRules,
    ThinkingRules,
    ToolSignature,
    first_mark,
)
from server.tool_calls.harmony import ANALYSIS, FINAL, NEXT_MESSAGE


def chat_constraint(
    body: ChatRequest, prompt: ChatPrompt, context: ServerContext, *, is_single_call: bool
) -> Constraint | None:
    """Compiled; thinking is left free. Raises `InvalidRequest` naming the field at fault."""
    schema = body.asked_schema()
    if prompt.has_tools:
        return _tool_constraint(body, prompt, context, schema, is_single_call)
    if schema is None:
        outputs = body.structured_outputs
        constraint = (
            outputs.to_constraint(context.tokenizer) if outputs else body.to_constraint(context)
        )
        return constraint and _after_thinking(constraint, prompt, context)
    value, param = schema
    thinking = _thinking(body, prompt)
    if thinking is None:
        if value == ANY_OBJECT:
            return compiler.from_json_object()
        return schema_constraint(value, param=param)
    return _compiled(context, thinking=thinking, calls=None, schema=_checked(value, param))


def _after_thinking(
    constraint: Constraint, prompt: ChatPrompt, context: ServerContext
) -> Constraint:
    """The constraint from the end of the thinking on, if the prompt ends inside of it."""
    markers = prompt.template.reasoning_markers
    if markers is None or not prompt.is_thinking_open:
        return constraint
    token = control_token(markers.closing, context.tokenizer)
    if token is not None:
        return compiler.lazy(constraint, tokens=(token,), keep_trigger=False)
    return compiler.lazy(constraint, words=(markers.closing,), keep_trigger=False)


def _tool_constraint(
    body: ChatRequest,
    prompt: ChatPrompt,
    context: ServerContext,
    schema: tuple[object, str] | None,
    is_single_call: bool,
) -> Constraint | None:
    if body.grammar or (body.structured_outputs and schema is None):
        param = "grammar" if body.grammar else "structured_outputs"
        raise InvalidRequest(f"'{param}' can't be combined with 'tools'", param=param)
    calls = _call_rules(body, prompt, is_single_call)
    text = _checked(*schema) if schema and not body.must_call else None
    if calls is None and text is None:
        return None
    thinking = _thinking(body, prompt)
    if text is None and calls is not None and not body.must_call and not prompt.is_thinking_open:
        return _calls_in_text(calls, context)
    return _compiled(context, thinking=thinking, calls=calls, schema=text)


def _calls_in_text(calls: CallRules, context: ServerContext) -> Constraint:
    """Calls that may come anywhere in text, or not at all; thinking is text here as well.

    Where the calls' first mark is one token, the text before it needs no matching. A mark of
    several tokens could share its last one with what follows, so there the text is matched too.
    """
    mark = first_mark(calls.syntax)
    tokens = context.tokenizer.tokenize(mark, add_special=False, parse_special=True)
    if len(tokens) != 1:
        return _compiled(context, thinking=None, calls=calls, schema=None)
    required = replace(calls, is_required=True)
    constraint = _compiled(context, thinking=None, calls=required, schema=None)
    return compiler.lazy(constraint, tokens=tuple(tokens))


def _call_rules(body: ChatRequest, prompt: ChatPrompt, is_single: bool) -> CallRules | None:
    """How calls are constrained; None where they can't be told from text in time."""
    format_ = prompt.template.tool_format
    syntax = format_.syntax
    if syntax is None:
        if body.must_call:
            message = "'tool_choice' can't be enforced in this model's format of tool calls"
            raise InvalidRequest(message, param="tool_choice")
        return None
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


def _thinking(body: ChatRequest, prompt: ChatPrompt) -> ThinkingRules | None:
    """The thinking that may come before what is constrained."""
    template = prompt.template
    if template.tool_format.has_channels:
        return ThinkingRules(markers=ANALYSIS, is_open=False, after=NEXT_MESSAGE, before_text=FINAL)
    if template.reasoning_markers is None or not prompt.may_think:
        return None
    if body.reasoning_format == "none" and not prompt.is_thinking_open:
        # The thinking would end up in the content, which has to follow the schema.
        return None
    return ThinkingRules(markers=template.reasoning_markers, is_open=prompt.is_thinking_open)


def _compiled(
    context: ServerContext,
    *,
    thinking: ThinkingRules | None,
    calls: CallRules | None,
    schema: str | None,
) -> Constraint:
    grammar = AnswerGrammar(context.tokenizer)
    text = grammar.write(thinking=thinking, calls=calls, schema=schema)
    try:
        return compiler.from_lark(text)
    except GrammarError as error:
        param = "tools" if calls else "response_format"
        raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error


def _checked(schema: object, param: str) -> str:
    """The schema's compact text, once it compiles on its own, so that an error names its field."""
    schema_constraint(schema, param=param)
    return check_schema(schema)
