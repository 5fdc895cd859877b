"""What a chat or a completion of Ollama's asks of the engine."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from protocol.commands import UNLIMITED
from server.chat.plan import plan_chat
from server.chat.request import ChatRequest
from server.context import ServerContext
from server.errors import ApiError, ContextExceeded, InvalidRequest
from server.generation.types import GenerationRequest
from server.ollama.conversation import (
    chat_messages,
    chat_tools,
    format_fields,
    renamed,
    thinking_fields,
)
from server.ollama.options import FILL_CONTEXT, Options
from server.ollama.recipes import Recipe
from server.ollama.request import (
    AnswerRequest,
    Message,
    OllamaChatRequest,
    OllamaGenerateRequest,
)
from server.ollama.shortening import (
    Conversation,
    Gap,
    shorter_conversation,
    shorter_gap,
    without_oldest,
)
from server.requests.prompts import check_tokens
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import limited
from server.requests.shorten import shortened_to_fit
from server.requests.text_completion import TextCompletionRequest
from server.templates.builtin import builtin_names, builtin_template
from server.templates.chat_template import ChatTemplate, SpecialTokens

_PROMPT_ALONE = re.compile(r"\s*\{\{-?\s*\.Prompt\s*-?\}\}\s*")
"""The Go template of models that were not trained for chats."""

_AS_IS = "{%- for message in messages -%}{{- message.content -}}{%- endfor -%}"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OllamaPlan:
    """The one sequence to generate, and what its answer depends on."""

    body: SamplingFields
    sequence: GenerationRequest
    is_parsed: bool = True
    max_calls: int | None = None

    @property
    def prompt(self) -> Sequence[int]:
        """The tokens of the prompt."""
        return self.sequence.spec.prompt


def plan_ollama_chat(
    body: OllamaChatRequest, recipe: Recipe, context: ServerContext, user: str | None
) -> OllamaPlan:
    """The plan of a chat. Takes milliseconds: callers keep it off the event loop.

    Raises `InvalidRequest`, `ContextExceeded`, and `Unavailable` while the model loads.
    """
    _check_generates(body.model, context, "chat")
    options = _options(body, recipe, context)
    context = with_template(context, recipe.template, "template")
    _check_thinking(body, context, has_tools=bool(body.tools))
    fields = {**_answer_fields(body, options, context, user), "tools": chat_tools(body.tools)}

    def plan(messages: Sequence[Message]) -> OllamaPlan:
        if len(messages) < len(body.messages):
            logger.info("%d of %d messages don't fit", len(body.messages), len(messages))
        return _chat_plan({**fields, "messages": chat_messages(messages)}, body, options, context)

    messages: Sequence[Message] = [*recipe.messages, *body.messages]
    if recipe.system and messages[0].role != "system":
        messages = [Message(role="system", content=recipe.system), *messages]
    return shortened_to_fit(messages, plan, without_oldest) if body.truncate else plan(messages)


def plan_ollama_completion(
    body: OllamaGenerateRequest, recipe: Recipe, context: ServerContext, user: str | None
) -> OllamaPlan:
    """The plan of a completion: a chat of one message, a prompt as it is, or a gap to fill.

    Raises what `plan_ollama_chat` raises.
    """
    body.check()
    _check_generates(body.model, context, "generate")
    options = _options(body, recipe, context)
    if body.raw or body.suffix:
        return _text_plan(body, options, context, user)
    context = with_template(context, body.template or recipe.template, "template")
    _check_thinking(body, context, has_tools=False)
    messages = [Message(role="user", content=body.prompt)]
    if not body.context:
        messages[:0] = recipe.messages
    if system := body.system or recipe.system:
        messages.insert(0, Message(role="system", content=system))
    fields = _answer_fields(body, options, context, user)

    def plan(asked: Conversation) -> OllamaPlan:
        said = {**fields, "messages": chat_messages(asked.messages)}
        return _chat_plan(said, body, options, context, before=asked.before)

    asked = Conversation(messages, body.context)
    return shortened_to_fit(asked, plan, shorter_conversation) if body.truncate else plan(asked)


def with_template(context: ServerContext, name: str, param: str) -> ServerContext:
    """The context with another chat template. Raises `InvalidRequest` for an unknown one."""
    if not name:
        return context
    tokenizer = context.tokenizer
    specials = SpecialTokens(
        *(
            "" if token is None else tokenizer.text([token], special=True)
            for token in (tokenizer.bos, tokenizer.eos)
        )
    )
    return replace(context, chat_template=_known_template(name, specials, param))


def check_template(name: str, param: str = "template") -> None:
    """Raise `InvalidRequest` unless the text is empty, or a template that is known here."""
    if name and _known_source(name) is None:
        raise InvalidRequest(
            f"'{param}' must be the name of a built-in chat template, or {{{{ .Prompt }}}}: other "
            f"Go templates are not read. The names are {', '.join(builtin_names())}",
            param=param,
        )


@lru_cache(maxsize=64)
def _known_template(name: str, specials: SpecialTokens, param: str) -> ChatTemplate:
    check_template(name, param)
    source = _known_source(name)
    assert source is not None
    return ChatTemplate(source, specials=specials)


def _known_source(name: str) -> str | None:
    """The Jinja template that is meant."""
    return _AS_IS if _PROMPT_ALONE.fullmatch(name) else builtin_template(name)


def _options(body: AnswerRequest, recipe: Recipe, context: ServerContext) -> Options:
    body.options.check(context.settings)
    if body.shift and not context.settings.context_shift:
        message = "'shift' needs a server that was started with --context-shift"
        raise InvalidRequest(message, param="shift")
    return body.options.over(recipe.parameters)


def _answer_fields(
    body: AnswerRequest, options: Options, context: ServerContext, user: str | None
) -> dict[str, Any]:
    """The fields of a chat that every kind of answer has."""
    return {
        "stream": body.stream,
        "user": user,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs if body.logprobs else None,
        **options.sampling(context.settings),
        **thinking_fields(body),
        **format_fields(body),
    }


def _chat_plan(
    fields: dict[str, Any],
    body: AnswerRequest,
    options: Options,
    context: ServerContext,
    before: Sequence[int] = (),
) -> OllamaPlan:
    """The plan of a chat, behind the tokens of an earlier conversation."""
    chat = ChatRequest.model_validate(fields)
    try:
        plan = plan_chat(chat, context)
    except ApiError as error:
        raise renamed(error) from error
    sequence = plan.sequences[0]
    if before:
        sequence = _continued(sequence, before, context)
    return OllamaPlan(
        chat,
        _within(sequence, body, options, context),
        max_calls=plan.options.max_calls,
    )


def _text_plan(
    body: OllamaGenerateRequest, options: Options, context: ServerContext, user: str | None
) -> OllamaPlan:
    """The plan of a text that no template is applied to."""
    if body.suffix and context.tokenizer.fim is None:
        raise InvalidRequest(f'"{body.model}" does not support insert', param="suffix")
    fields = {
        **_answer_fields(body, options, context, user),
        "logprobs": body.top_logprobs if body.logprobs else None,
    }

    def plan(asked: Gap) -> OllamaPlan:
        gap = {"prompt": asked.prompt, "suffix": asked.suffix}
        text = TextCompletionRequest.model_validate({**fields, **gap})
        try:
            sequence = text.sequences(context)[0]
        except ApiError as error:
            raise renamed(error) from error
        return OllamaPlan(text, _within(sequence, body, options, context), is_parsed=False)

    asked = Gap(body.prompt, body.suffix)
    return shortened_to_fit(asked, plan, shorter_gap) if body.truncate else plan(asked)


def _continued(
    sequence: GenerationRequest, before: Sequence[int], context: ServerContext
) -> GenerationRequest:
    """The sequence with more tokens before its prompt, whose BOS stands before all of them."""
    check_tokens(list(before), context.tokenizer, param="context")
    prompt, bos = sequence.spec.prompt, context.tokenizer.bos
    if prompt and prompt[0] == bos:
        prompt = prompt[1:]
        before = before if before[0] == bos else (bos, *before)
    # Where turns part is told by their places, which are others now.
    return sequence.with_spec(prompt=(*before, *prompt), partings=())


def _within(
    sequence: GenerationRequest, body: AnswerRequest, options: Options, context: ServerContext
) -> GenerationRequest:
    """The sequence within the context that the request asks for. Raises `ContextExceeded`."""
    n_slot = context.engine.model.n_ctx_slot
    n_ctx = min(options.num_ctx or n_slot, n_slot)
    spec = sequence.spec
    if len(spec.prompt) >= n_ctx:
        raise ContextExceeded(len(spec.prompt), n_ctx)
    if body.shift is False:
        sequence = sequence.with_spec(context_shift=None)
    if n_ctx == n_slot and options.num_predict != FILL_CONTEXT:
        return sequence
    room = n_ctx - len(spec.prompt)
    most = room if spec.max_tokens == UNLIMITED else min(spec.max_tokens, room)
    return limited(sequence, most)


def _check_generates(name: str, context: ServerContext, what: str) -> None:
    if not context.engine.model.can_generate:
        raise InvalidRequest(f'"{name}" does not support {what}', param="model")


def _check_thinking(body: AnswerRequest, context: ServerContext, *, has_tools: bool) -> None:
    template = context.chat_template.for_tools(has_tools)
    if body.think and template.thinking_markers is None:
        raise InvalidRequest(f'"{body.model}" does not support thinking', param="think")
