"""From the body of a chat completion to sequences of tokens and a reader of their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from grammars.json_schema import check_schema
from server.context import ServerContext
from server.errors import InvalidRequest
from server.generation import GenerationRequest
from server.openai.chat_request import ChatRequest
from server.openai.messages import to_template
from server.openai.models import check_model
from server.openai.response_format import ANY_OBJECT
from server.reasoning import ReasoningSplitter
from server.sampling_fields import nth_choice, schema_constraint
from server.tool_calls.events import AnswerParser, PlainText
from server.tool_calls.grammar import AnswerGrammar, CallRules, ThinkingRules, ToolSignature


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """What to generate, and how to read what comes."""

    sequences: Sequence[GenerationRequest]
    make_parser: Callable[[], AnswerParser]
    max_calls: int | None
    """Tool calls that one answer may hold; None is any number."""


def plan_chat(body: ChatRequest, context: ServerContext) -> ChatPlan:
    """Render, tokenize and compile: milliseconds, so not for the event loop.

    Raises `NotFound` for another model, `InvalidRequest`, and `Unavailable` while loading.
    """
    check_model(body.model, context)
    body.check()
    return _Planner(body, context).plan()


class _Planner:
    """The steps of `plan_chat`, which share the rendered prompt and what the template shows."""

    def __init__(self, body: ChatRequest, context: ServerContext) -> None:
        self._body = body
        self._context = context
        self._tools = [tool.to_template() for tool in body.offered_tools()]
        if self._tools and not context.settings.jinja:
            raise InvalidRequest("'tools' need the server to run with --jinja", param="tools")
        self._template = context.chat_template.for_tools(bool(self._tools))
        self._format = self._template.tool_format
        self._markers = self._template.reasoning_markers
        self._prompt = self._render()
        self._splits = body.reasoning_format != "none" and self._markers is not None
        self._is_open = self._is_thinking_open()

    def plan(self) -> ChatPlan:
        body, context = self._body, self._context
        sampling = body.to_sampling_params(context, top_logprobs=body.num_logprobs)
        first = body.to_request(context, self._tokens(), sampling, self._constraint())
        return ChatPlan(
            sequences=[nth_choice(first, index) for index in range(body.n)],
            make_parser=self._make_parser,
            max_calls=1 if self._is_single() else None,
        )

    def _render(self) -> str:
        body = self._body
        return self._context.chat_template.render(
            [to_template(message) for message in body.messages],
            tools=self._tools or None,
            documents=body.documents,
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continues,
            variables=body.template_variables,
        )

    def _tokens(self) -> list[int]:
        """The template may have written the first token itself; two of it would hurt."""
        tokenizer = self._context.tokenizer
        bos = tokenizer.bos
        text = tokenizer.piece(bos, special=True).decode("utf-8", "replace") if bos else ""
        add_special = not (text and self._prompt.startswith(text))
        return tokenizer.tokenize(self._prompt, add_special=add_special, parse_special=True)

    def _is_thinking_open(self) -> bool:
        markers = self._markers
        if markers is None:
            return False
        if self._body.continues:
            said = self._prompt.rpartition(markers.opening)
            return bool(said[1]) and markers.closing not in said[2] and self._continues_thinking()
        return self._body.add_generation_prompt and markers.opened_by(self._prompt)

    def _continues_thinking(self) -> bool:
        """Whether the message to be continued is itself unfinished thinking."""
        markers = self._markers
        content = str(to_template(self._body.messages[-1]).get("content") or "")
        return markers is not None and content.lstrip().startswith(markers.opening)

    def _make_parser(self) -> AnswerParser:
        parser: AnswerParser = PlainText()
        if self._tools:
            schemas = {
                tool.function.name: tool.function.parameters or {}
                for _, tool in self._body.callable_tools()
            }
            parser = self._format.make_parser(schemas)
        if self._splits and self._markers is not None:
            return ReasoningSplitter(self._markers, parser, is_open=self._is_open)
        return parser

    def _is_single(self) -> bool:
        if self._body.parallel_tool_calls is not None:
            return not self._body.parallel_tool_calls
        capabilities = self._template.capabilities
        return capabilities.tool_calls and not capabilities.parallel_tool_calls

    def _constraint(self) -> Constraint | None:
        body = self._body
        schema = body.asked_schema()
        if self._tools:
            return self._tool_constraint(schema)
        if schema is None:
            outputs = body.structured_outputs
            return outputs.to_constraint() if outputs else body.to_constraint(self._context)
        value, param = schema
        thinking = self._thinking()
        if thinking is None:
            if value == ANY_OBJECT:
                return compiler.from_json_object()
            return schema_constraint(value, param=param)
        return self._lark(thinking=thinking, calls=None, schema=_checked(value, param))

    def _tool_constraint(self, schema: tuple[object, str] | None) -> Constraint | None:
        body = self._body
        if body.grammar or (body.structured_outputs and schema is None):
            param = "grammar" if body.grammar else "structured_outputs"
            raise InvalidRequest(f"'{param}' can't be combined with 'tools'", param=param)
        calls = self._call_rules()
        text = _checked(*schema) if schema and not body.must_call else None
        if calls is None and text is None:
            return None
        thinking = self._thinking()
        if text is None and not body.must_call and thinking and not thinking.is_open:
            # Where any text may come first, thinking needs no rule of its own.
            thinking = None
        return self._lark(thinking=thinking, calls=calls, schema=text)

    def _call_rules(self) -> CallRules | None:
        """How calls are constrained; None where they can't be told from text in time."""
        body, syntax = self._body, self._format.syntax
        if syntax is None:
            if body.must_call:
                message = "'tool_choice' can't be enforced in this model's format of tool calls"
                raise InvalidRequest(message, param="tool_choice")
            return None
        if syntax.is_bare and not body.must_call and body.asked_schema() is None:
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
        return CallRules(
            syntax=syntax, tools=tools, is_required=body.must_call, is_single=self._is_single()
        )

    def _thinking(self) -> ThinkingRules | None:
        """Whether thinking may come before what is constrained."""
        markers = self._markers
        if markers is None or not (self._splits or self._is_open):
            return None
        if self._prompt.rstrip().endswith(markers.closing):
            return None
        if not self._is_open and (self._body.continues or self._is_turned_off()):
            return None
        return ThinkingRules(markers=markers, is_open=self._is_open)

    def _is_turned_off(self) -> bool:
        variables = self._body.template_variables
        return variables.get("enable_thinking", variables.get("thinking")) is False

    def _lark(
        self, *, thinking: ThinkingRules | None, calls: CallRules | None, schema: str | None
    ) -> Constraint:
        text = AnswerGrammar(self._context.tokenizer).write(
            thinking=thinking, calls=calls, schema=schema
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
