"""The sequences that a body asks for: its fields, resolved against this server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import msgspec

from config import ServeSettings
from grammars.constraint import Constraint, ThinkingConstraint
from protocol.commands import MOST_SHIFTS, UNLIMITED, ContextShift, SequenceSpec
from protocol.sampling import SamplingParams
from server.bodies.bounds import CHOICES
from server.context import ServerContext
from server.errors import InvalidRequest
from server.generation.types import GenerationRequest
from server.parsers.control_tokens import control_tokens
from server.requests.carried import CarriedBytes, carried_by
from server.requests.model_name import asked_adapter
from server.requests.sampling_fields import SamplingFields
from server.requests.sampling_params import sampling_params, with_nth_seed
from server.requests.speculation import speculation_of

CHOICES_PER_SLOT = 8
"""Answers to one prompt for each slot, unless `--max-choices` says how many."""


def resolve_sampling(
    fields: SamplingFields, context: ServerContext, *, top_logprobs: int = -1
) -> SamplingParams:
    """The sampling parameters on this server. Raises `InvalidRequest`, and `Unavailable` while the
    model loads."""
    return sampling_params(
        fields,
        context.settings,
        context.tokenizer,
        n_ctx=context.engine.model.n_ctx_slot,
        top_logprobs=top_logprobs,
    )


def sequences_of(
    fields: SamplingFields,
    prompts: Iterable[Sequence[int]],
    context: ServerContext,
    *,
    sampling: SamplingParams,
    constraint: Constraint | None,
    visible_marks: Iterable[str] = (),
) -> list[GenerationRequest]:
    """`n` sequences for each prompt, in the order of the choices.

    `visible_marks` are spellings of control tokens that the dialect wants in the text. Raises
    what `generation_request` raises, and `InvalidRequest` for too many or too large answers.
    """
    check_choices(fields.n, context)
    marks = [*fields.preserved_tokens, *visible_marks]
    if context.settings.special:
        visible = _all_tokens(context.tokenizer.n_vocab)
    else:
        visible = control_tokens(marks, context.tokenizer)
    carried = CarriedBytes(carried_by(fields, sampling, constraint), copies=fields.n)
    sequences = []
    for prompt in prompts:
        carried.add_prompt(len(prompt))
        first = generation_request(fields, prompt, context, sampling, constraint)
        first = replace(first, visible_tokens=visible)
        sequences += [nth_choice(first, index) for index in range(fields.n)]
    return sequences


def generation_request(
    fields: SamplingFields,
    prompt: Sequence[int],
    context: ServerContext,
    sampling: SamplingParams,
    constraint: Constraint | None = None,
) -> GenerationRequest:
    """One sequence of a body.

    Raises `InvalidRequest` for a slot that doesn't exist, and for fields about moved cells or
    speculative decoding that this server can't honour.
    """
    return GenerationRequest(
        spec=_spec(fields, prompt, context, sampling, constraint),
        stop=tuple(word for word in fields.stop if word) or context.settings.reverse_prompt,
        report_cache=fields.return_cache_info,
        max_seconds=fields.t_max_predict_ms / 1000 if fields.t_max_predict_ms > 0 else None,
    )


def _spec(
    fields: SamplingFields,
    prompt: Sequence[int],
    context: ServerContext,
    sampling: SamplingParams,
    constraint: Constraint | None,
) -> SequenceSpec:
    """What the engine is told of the sequence."""
    settings, model = context.settings, context.engine.model
    max_tokens = settings.n_predict if fields.n_predict is None else fields.n_predict
    shift = _context_shift(
        fields, settings, prompt, bos=context.tokenizer.bos, n_ctx=model.n_ctx_slot
    )
    n_left = None if shift else model.n_ctx_slot - len(prompt)
    return SequenceSpec(
        prompt=tuple(prompt),
        sampling=sampling,
        max_tokens=max_tokens,
        context_shift=shift,
        constraint=_with_room(constraint, max_tokens, n_left),
        lora=context.adapter_scales.lora_set(
            model.adapters, fields.lora, asked_adapter(fields.model, context)
        ),
        cache_prompt=settings.cache_prompt if fields.cache_prompt is None else fields.cache_prompt,
        cache_salt=fields.cache_salt,
        min_reused_chunk=_min_reused_chunk(fields, settings.cache_reuse, model.can_shift),
        user=user_digest(fields.user_hint),
        priority=fields.priority,
        slot=_slot(fields.id_slot, model.n_slots),
        report_progress=fields.return_progress and fields.stream,
        speculation=speculation_of(
            settings,
            methods=fields.spec_type,
            n_max=fields.spec_n_max,
            n_min=fields.spec_n_min,
            p_min=fields.spec_p_min,
        ),
    )


def check_choices(n: int, context: ServerContext) -> None:
    """Raise `InvalidRequest` if the server makes fewer answers to one prompt."""
    most = most_choices(context)
    if n > most:
        raise InvalidRequest(
            f"'n' must be at most {most} on this server, which --max-choices sets (got {n})",
            param="n",
        )


def most_choices(context: ServerContext) -> int:
    """The most answers to one prompt: `--max-choices`, by default a number for each slot."""
    by_slots = CHOICES_PER_SLOT * context.engine.model.n_slots
    return min(context.settings.max_choices or by_slots, CHOICES.most)


@cache
def _all_tokens(n_vocab: int) -> frozenset[int]:
    return frozenset(range(n_vocab))


def nth_choice(request: GenerationRequest, index: int) -> GenerationRequest:
    """The request for the choice with this index: only the seed differs."""
    if index == 0:
        return request
    return request.with_spec(sampling=with_nth_seed(request.spec.sampling, index))


def limited(request: GenerationRequest, max_tokens: int) -> GenerationRequest:
    """The request with this limit of its answer, which its constraint is told."""
    constraint = _with_room(request.spec.constraint, max_tokens, None)
    return request.with_spec(max_tokens=max_tokens, constraint=constraint)


def _with_room(
    constraint: Constraint | None, max_tokens: int, n_left: int | None
) -> Constraint | None:
    """The constraint, told how many tokens the answer may have.

    `n_left` is the number of tokens that fit into the slot; None means any number.
    """
    if not isinstance(constraint, ThinkingConstraint) or constraint.constraint is None:
        return constraint
    bounds = [bound for bound in (max_tokens, n_left) if bound is not None and bound >= 0]
    return msgspec.structs.replace(constraint, room=min(bounds, default=UNLIMITED))


def _context_shift(
    fields: SamplingFields,
    settings: ServeSettings,
    prompt: Sequence[int],
    *,
    bos: int | None,
    n_ctx: int,
) -> ContextShift | None:
    if not settings.context_shift:
        for name in ("n_keep", "n_discard"):
            if getattr(fields, name):
                message = f"'{name}' needs a server that was started with --context-shift"
                raise InvalidRequest(message, param=name)
        return None
    least = n_ctx // MOST_SHIFTS
    if 0 < fields.n_discard < least:
        message = f"'n_discard' must be 0 or at least {least}, a {MOST_SHIFTS}th of the context"
        raise InvalidRequest(f"{message} (got {fields.n_discard})", param="n_discard")
    keep = settings.keep if fields.n_keep is None else fields.n_keep
    has_bos = bool(prompt) and prompt[0] == bos
    return ContextShift(len(prompt) if keep < 0 else keep + has_bos, fields.n_discard)


def _min_reused_chunk(fields: SamplingFields, default: int, can_shift: bool) -> int:
    if fields.n_cache_reuse and not can_shift:
        message = "'n_cache_reuse' can't be used: this model's cells can't be moved"
        raise InvalidRequest(message, param="n_cache_reuse")
    return default if fields.n_cache_reuse is None else fields.n_cache_reuse


def _slot(id_slot: int, n_slots: int) -> int | None:
    if id_slot == -1:
        return None
    if id_slot >= n_slots:
        raise InvalidRequest(
            f"'id_slot' must be below {n_slots}, the number of slots (got {id_slot})",
            param="id_slot",
        )
    return id_slot


def user_digest(user: str) -> str:
    """A short name for a user; "" is nobody."""
    return hashlib.blake2b(user.encode(), digest_size=8).hexdigest() if user else ""
