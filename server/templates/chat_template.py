"""The model's chat template: turns messages into the text of a prompt."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from confined.turns import Crowded
from server.errors import ApiError, InvalidRequest
from server.model.tokenizer import Tokenizer
from server.parsers.fallback import instructions
from server.parsers.formats import GENERIC, detect_format
from server.parsers.harmony import ANALYSIS
from server.parsers.reasoning import ReasoningMarkers, detect_markers
from server.parsers.syntax import CallSyntax
from server.startup import ChatTemplateError
from server.templates.capabilities import Render, TemplateCapabilities, probe
from server.templates.continuation import ContinuedField, continued_prompt
from server.templates.messages import adapt
from server.templates.outcome import InvalidTemplate, RenderLimit, TemplateRefusal
from server.templates.rendering import renderers, source_bytes

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""The template for models without a template; most models have seen this form."""

_MAX_SOURCE_BYTES = 1 << 20
"""Maximum size of a template; real ones have some tens of kB."""

_PROBE_SECONDS = 10.0
"""Wall-clock limit of finding out the capabilities, which takes some 30 renders."""

_DATE_FORMAT = "%d %b %Y"
_DATETIME_FORMAT = "%b %d %Y %H:%M:%S"


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Texts of the vocabulary's special tokens, which templates write themselves."""

    bos: str = ""
    eos: str = ""


class JinjaTemplate:
    """One template and its capabilities."""

    def __init__(self, source: str, specials: SpecialTokens) -> None:
        """Raises `ChatTemplateError` if the source isn't a Jinja template, or breaks a limit."""
        self.source = source
        self._source = source_bytes(source)
        self._specials = {"bos_token": specials.bos, "eos_token": specials.eos}
        if len(self._source) > _MAX_SOURCE_BYTES:
            raise ChatTemplateError(f"the chat template has more than {_MAX_SOURCE_BYTES:,} bytes")
        try:
            renderers.compile(self._source)
            self.capabilities = probe(self._probing())
        except InvalidTemplate as error:
            raise ChatTemplateError(f"the chat template is not valid{error}") from error
        except RenderLimit as error:
            raise ChatTemplateError(f"the chat template can't be rendered: {error}") from error
        knows_calls = self.capabilities.tools or self.capabilities.tool_calls
        self.tool_format = detect_format(source, knows_calls=knows_calls)
        self.reasoning_markers = detect_markers(source)

    @property
    def thinking_markers(self) -> ReasoningMarkers | None:
        """The texts around the thinking. In answers with channels, the thinking is a channel."""
        return ANALYSIS if self.tool_format.has_channels else self.reasoning_markers

    def render(self, variables: Mapping[str, Any]) -> str:
        """The template's text. Raises `TemplateProblem`, and `Crowded`."""
        if self.capabilities.empty_tools and not variables.get("tools"):
            variables = {**variables, "tools": []}
        return self._render(variables)

    def _render(self, variables: Mapping[str, Any]) -> str:
        now = datetime.now()
        defaults = {
            "tools": None,
            "documents": None,
            "date_string": now.strftime(_DATE_FORMAT),
            "datetime": now.strftime(_DATETIME_FORMAT),
            "functions": _functions_text(variables.get("tools") or ()),
        }
        values = {**defaults, **self._specials, **variables}
        return renderers.render(self._source, values)

    def _probing(self) -> Render:
        """Renders small conversations, in a bounded time for all of them together."""
        deadline = time.monotonic() + _PROBE_SECONDS

        def render(variables: Mapping[str, Any]) -> str:
            if time.monotonic() > deadline:
                raise RenderLimit(f"small conversations take more than {_PROBE_SECONDS:g} s")
            return self._render(variables)

        return render


class ChatTemplate:
    """The template of the served model, and its variant for requests with tools."""

    def __init__(
        self,
        source: str = CHATML,
        *,
        tool_source: str | None = None,
        specials: SpecialTokens | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        """`variables` are the operator's; the variables of a request take precedence. Raises
        `ChatTemplateError`."""
        specials = specials or SpecialTokens()
        self._default = JinjaTemplate(source, specials)
        self._tool_use = JinjaTemplate(tool_source, specials) if tool_source else None
        self.variables = dict(variables or {})

    @property
    def source(self) -> str:
        """The source of the Jinja template."""
        return self._default.source

    @property
    def tool_source(self) -> str | None:
        """The source of the variant for requests with tools, if the model has one."""
        return self._tool_use.source if self._tool_use else None

    @property
    def capabilities(self) -> TemplateCapabilities:
        """What the template can express."""
        return self._default.capabilities

    def for_tools(self, has_tools: bool) -> JinjaTemplate:
        """The variant that renders requests with or without tools."""
        return self._tool_use if has_tools and self._tool_use else self._default

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continued: ContinuedField | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for OpenAI's `messages` and `tools`; `variables` are the template's kwargs.

        With `continued`, the prompt ends where this field of the last message ends, and the model
        continues that message. Raises `InvalidRequest` if the template refuses the messages.
        """
        template = self.for_tools(bool(tools))
        added = ""
        if tools and not template.capabilities.tools:
            added, tools = instructions(tools, _syntax(template)), None
        chosen = self._thinking(template, variables or {})
        options = {"tools": tools, "documents": documents, **chosen}
        if continued == "reasoning_content":
            options |= dict.fromkeys(template.capabilities.thinking_variables, True)
        render = partial(_rendered, template, variables=options, instructions=added)
        if continued is not None:
            return continued_prompt(messages, continued, render, template.thinking_markers)
        return render(messages, add_generation_prompt=add_generation_prompt)

    def _thinking(self, template: JinjaTemplate, variables: Mapping[str, Any]) -> dict[str, Any]:
        """All variables. Reasoning is on unless the request turns it off, under the template's own
        name."""
        merged = deepcopy(self.variables) | dict(variables)
        names = template.capabilities.thinking_variables
        chosen = next((merged[name] for name in _THINKING_NAMES if name in merged), None)
        if chosen is None:
            return merged | ({"enable_thinking": True} if "enable_thinking" in names else {})
        return merged | {name: chosen for name in names if name not in merged}


_THINKING_NAMES = ("enable_thinking", "thinking")


def load(
    tokenizer: Tokenizer,
    *,
    override: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> ChatTemplate:
    """The chat template of a GGUF, or the text `override`.

    Raises `ChatTemplateError` if the text isn't a template.
    """
    specials = SpecialTokens(
        bos=_special_text(tokenizer, tokenizer.bos), eos=_special_text(tokenizer, tokenizer.eos)
    )
    if override is not None:
        return ChatTemplate(override, specials=specials, variables=variables)
    return ChatTemplate(
        tokenizer.metadata("tokenizer.chat_template") or CHATML,
        tool_source=tokenizer.metadata("tokenizer.chat_template.tool_use"),
        specials=specials,
        variables=variables,
    )


def _syntax(template: JinjaTemplate) -> CallSyntax:
    """The syntax of calls for templates that don't write calls themselves."""
    syntax = template.tool_format.syntax
    return syntax if syntax.parameters is None else GENERIC.syntax


def _functions_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """The tools as one JSON text, which a few templates (Firefunction) want instead of a list."""
    functions = [tool.get("function", tool) for tool in tools]
    return json.dumps(functions, ensure_ascii=False, indent=4) if functions else ""


def _special_text(tokenizer: Tokenizer, token: int | None) -> str:
    if token is None:
        return ""
    return tokenizer.piece(token, special=True).decode("utf-8", "replace")


def _rendered(
    template: JinjaTemplate,
    messages: Sequence[Mapping[str, Any]],
    *,
    variables: Mapping[str, Any],
    instructions: str,
    add_generation_prompt: bool,
) -> str:
    adapted = adapt(messages, template.capabilities, _syntax(template), instructions=instructions)
    chat = {"messages": adapted, "add_generation_prompt": add_generation_prompt}
    try:
        return template.render({**variables, **chat})
    except (ApiError, Crowded):
        raise
    except TemplateRefusal as error:
        raise InvalidRequest(str(error), param="messages") from error
    except Exception as error:
        # The template is the model author's program, and the messages are the client's. Any
        # exception means that this conversation can't be rendered; the next one may work.
        message = f"the model's chat template can't render these messages: {error}"
        raise InvalidRequest(message, param="messages") from error
