"""The fields of a request body that steer sampling and output, shared by all dialects.

The names are llama-server's. A missing or null field means the server's default; a value out of
the bounds below is refused by name rather than clamped.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    model_validator,
)

from config import ServeSettings
from grammars.constraint import Constraint
from protocol.commands import ContextShift, SequenceSpec
from protocol.sampling import SamplingParams
from server.context import ServerContext
from server.errors import InvalidRequest
from server.generation.types import MAX_PRIORITY, GenerationRequest
from server.model.adapters import LoraScale
from server.model.tokenizer import Tokenizer
from server.parsers.control_tokens import control_tokens
from server.requests.field_types import (
    INT32_MAX,
    MAX_ADAPTERS,
    MAX_CHOICES,
    MAX_DRY_BREAKERS,
    MAX_LOGPROBS,
    Count,
    DraftMethods,
    Flag,
    LogitBias,
    LookBack,
    Penalty,
    Probability,
    Real,
    ReusedChunk,
    Salt,
    SamplerNames,
    StopStrings,
    Whole,
)
from server.requests.sampling_defaults import sampling_defaults
from server.requests.speculation import speculation_of
from server.requests.unsupported_fields import refuse_unsupported
from server.structured_output.compile import compile_request_format
from server.structured_output.output_format import (
    OutputFormat,
    grammar,
    json_schema,
    lazily,
    only_format,
)
from server.structured_output.triggers import MAX_TRIGGERS, GrammarTrigger
from server.structured_output.vllm_field import StructuredOutputs

MAX_INFILL_CANDIDATES = 1024
"""Tokens that the `infill` sampler compares with one another, each with each."""

RANDOM_SEED = 2**32 - 1
"""llama.cpp's own spelling of "draw a seed", which is -1 as an unsigned number."""


_SAME_NAME = (
    "samplers",
    "temperature",
    "dynatemp_range",
    "dynatemp_exponent",
    "top_p",
    "min_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "typical_p",
    "min_keep",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "dry_multiplier",
    "dry_allowed_length",
    "dry_sequence_breakers",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "adaptive_target",
    "adaptive_decay",
    "post_sampling_probs",
)
"""Fields that a sampling parameter takes over as they are."""


class StreamOptions(BaseModel):
    """What a streamed answer tells besides the text."""

    include_usage: Flag = False


class SamplingFields(BaseModel):
    """Base of the bodies that ask for a completion."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    n_predict: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = Field(
        None, validation_alias=AliasChoices("n_predict", "max_completion_tokens", "max_tokens")
    )
    """Most tokens of an answer; -1 is no limit, 0 computes the prompt and generates nothing."""
    t_max_predict_ms: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] = -1
    """The answer ends at the first line break that comes so many milliseconds after its first
    token, so no line is cut; 0 or less is no limit."""
    n_keep: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = None
    """Tokens at the beginning, besides a BOS, that a context shift never discards; -1 is the
    whole prompt."""
    n_discard: Count = 0
    """Tokens that a context shift discards at once; 0 is half of those that may go."""
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES)] = Field(
        1, validation_alias=AliasChoices("n_cmpl", "n")
    )
    stop: StopStrings = []
    ignore_eos: Flag | None = None
    id_slot: Annotated[Whole, Field(ge=-1)] = -1
    cache_prompt: Flag | None = None
    n_cache_reuse: ReusedChunk | None = None
    """Shortest chunk, in tokens, to move within the slot's cache and reuse after an edit in the
    prompt, which is an approximation; 0 reuses prefixes only."""
    lora: Annotated[list[LoraScale], Field(max_length=MAX_ADAPTERS)] | None = None
    """Scales of the adapters for this answer; those that are not listed get 0."""
    cache_salt: Salt = ""
    """Cached prefixes are shared only among requests of the same salt."""
    priority: Annotated[Whole, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Of those that wait, the highest is served first."""
    spec_type: DraftMethods | None = Field(
        None, validation_alias=AliasChoices("spec_type", "speculative.type", "speculative.types")
    )
    """Who guesses tokens ahead, out of what the server was started with; none turns it off."""
    spec_n_max: Count | None = Field(
        None, validation_alias=AliasChoices("spec_n_max", "speculative.n_max")
    )
    """Most tokens that are guessed at once, if that is less than the server's; 0 turns it off."""
    spec_n_min: Count | None = Field(
        None, validation_alias=AliasChoices("spec_n_min", "speculative.n_min")
    )
    """Shorter guesses are thrown away."""
    spec_p_min: Probability | None = Field(
        None, validation_alias=AliasChoices("spec_p_min", "speculative.p_min")
    )
    """The draft model stops before a token that it gives less probability than this."""
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    """Taken modulo 2**32; -1 draws one."""

    stream: Flag = False
    stream_options: StreamOptions = StreamOptions()
    return_tokens: Flag = False
    return_progress: Flag = False
    timings_per_token: Flag = False
    sse_ping_interval: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = None
    n_probs: Annotated[Whole, Field(ge=0, le=MAX_LOGPROBS)] = 0
    post_sampling_probs: Flag = False
    min_keep: Count | None = None

    samplers: SamplerNames | None = None
    temperature: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    dynatemp_range: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    dynatemp_exponent: Annotated[Real, Field(ge=0, le=100)] | None = None
    top_k: Annotated[Whole, Field(ge=-INT32_MAX, le=INT32_MAX)] | None = None
    """0 or less keeps all tokens."""
    top_p: Probability | None = None
    min_p: Probability | None = None
    top_n_sigma: Annotated[Real, Field(ge=-1e6, le=1e6)] | None = None
    """0 or less is off."""
    xtc_probability: Probability | None = None
    xtc_threshold: Probability | None = None
    typical_p: Probability | None = None
    repeat_last_n: LookBack | None = None
    repeat_penalty: Annotated[Real, Field(gt=0, le=100)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    dry_multiplier: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    dry_base: Annotated[Real, Field(ge=-1e6, le=1e6)] | None = None
    """Below 1 means the server's default."""
    dry_allowed_length: Count | None = None
    dry_penalty_last_n: LookBack | None = None
    dry_sequence_breakers: (
        Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=MAX_DRY_BREAKERS)] | None
    ) = None
    mirostat: Annotated[Whole, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    mirostat_eta: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    adaptive_target: Annotated[Real, Field(ge=-1e6, le=1)] | None = None
    """Negative is off."""
    adaptive_decay: Annotated[Real, Field(ge=0, le=0.99)] | None = None
    logit_bias: LogitBias | None = None

    grammar: StrictStr | None = None
    json_schema: Any = None
    structured_outputs: StructuredOutputs | None = None
    grammar_lazy: Flag = False
    """The grammar or schema applies from a trigger on; before it the answer is free."""
    grammar_triggers: Annotated[list[GrammarTrigger], Field(max_length=MAX_TRIGGERS)] = []
    preserved_tokens: Annotated[list[StrictStr], Field(max_length=MAX_TRIGGERS)] = []
    """Control tokens, by their spelling, that are part of the answer's text."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        """Null asks for the default, so that aliases after it still count."""
        if not isinstance(body, dict):
            return body
        refuse_unsupported(body)
        given = {name: value for name, value in body.items() if value is not None}
        _check_names(given, cls)
        return given

    def to_sampling_params(
        self, context: ServerContext, *, top_logprobs: int = -1
    ) -> SamplingParams:
        """The typed parameters, with the server's defaults where the body is silent.

        `top_logprobs` is the dialect's reading of its own fields. Raises `InvalidRequest` for a
        token that the vocabulary doesn't have and `Unavailable` while the model loads.
        """
        defaults = sampling_defaults(context.settings)
        given = {name: value for name in _SAME_NAME if (value := getattr(self, name)) is not None}
        given |= {"top_k": max(self._or(defaults, "top_k"), 0), "top_logprobs": top_logprobs}
        for name in ("repeat_last_n", "dry_penalty_last_n"):
            count = self._or(defaults, name)
            given[name] = context.engine.model.n_ctx_slot if count == -1 else count
        if self.dry_base is not None and self.dry_base >= 1:
            given["dry_base"] = self.dry_base
        given["seed"] = self._resolved_seed(context.settings.seed)
        given["logit_bias"] = self._resolved_bias(context, defaults.logit_bias)
        sampling = msgspec.structs.replace(defaults, **given)
        _check_infill(sampling)
        return sampling

    def output_format(self) -> OutputFormat:
        """What the answer has to follow. Raises `InvalidRequest` for fields that conflict."""
        format_ = only_format(self._formats())
        return lazily(format_, self.grammar_triggers) if self.grammar_lazy else format_

    def _formats(self) -> Iterator[OutputFormat]:
        """Every field that constrains the answer; dialects add theirs."""
        if self.structured_outputs is not None:
            yield self.structured_outputs.output_format()
        if self.json_schema is not None:
            yield json_schema(self.json_schema, "json_schema")
        if self.grammar:
            yield grammar(self.grammar, "grammar")

    def to_constraint(self, context: ServerContext) -> Constraint | None:
        """What the answer has to follow; compiling takes milliseconds, so not on the event loop.

        Raises `InvalidRequest` for a grammar or schema that can't be used.
        """
        constraint = compile_request_format(self.output_format(), context.tokenizer)
        return constraint or context.default_constraint

    def to_request(
        self,
        context: ServerContext,
        prompt: Sequence[int],
        sampling: SamplingParams,
        constraint: Constraint | None,
    ) -> GenerationRequest:
        """One sequence of this body. Raises `InvalidRequest` for a slot that doesn't exist and
        for wishes about moving cells or guessing ahead that can't be fulfilled."""
        settings = context.settings
        spec = SequenceSpec(
            prompt=tuple(prompt),
            sampling=sampling,
            max_tokens=settings.n_predict if self.n_predict is None else self.n_predict,
            context_shift=self._resolved_shift(context, prompt),
            constraint=constraint,
            lora=context.adapter_scales.lora_set(context.engine.model.adapters, self.lora),
            cache_prompt=settings.cache_prompt if self.cache_prompt is None else self.cache_prompt,
            cache_salt=self.cache_salt,
            min_reused_chunk=self._resolved_reuse(context),
            priority=self.priority,
            slot=self._resolved_slot(context),
            report_progress=self.return_progress and self.stream,
            speculation=speculation_of(
                settings,
                methods=self.spec_type,
                n_max=self.spec_n_max,
                n_min=self.spec_n_min,
                p_min=self.spec_p_min,
            ),
        )
        return GenerationRequest(
            spec=spec,
            stop=tuple(word for word in self.stop if word),
            max_seconds=self.t_max_predict_ms / 1000 if self.t_max_predict_ms > 0 else None,
            visible_tokens=control_tokens(self.preserved_tokens, context.tokenizer),
        )

    def ignores_eos(self, settings: ServeSettings) -> bool:
        """Whether the tokens that end an answer are banned."""
        return settings.ignore_eos if self.ignore_eos is None else self.ignore_eos

    def ping_seconds(self, settings_interval: int) -> int:
        """Seconds of silence before a comment goes out on the stream; 0 is never."""
        interval = self.sse_ping_interval
        return max(settings_interval if interval is None else interval, 0)

    def _or(self, defaults: SamplingParams, name: str) -> int:
        value: int | None = getattr(self, name)
        default: int = getattr(defaults, name)
        return default if value is None else value

    def _resolved_seed(self, default: int) -> int:
        seed = (default if self.seed is None else self.seed) % 2**32
        return secrets.randbelow(RANDOM_SEED) if seed == RANDOM_SEED else seed

    def _resolved_shift(self, context: ServerContext, prompt: Sequence[int]) -> ContextShift | None:
        if not context.settings.context_shift:
            for name in ("n_keep", "n_discard"):
                if getattr(self, name):
                    message = f"'{name}' needs a server that was started with --context-shift"
                    raise InvalidRequest(message, param=name)
            return None
        keep = context.settings.keep if self.n_keep is None else self.n_keep
        has_bos = bool(prompt) and prompt[0] == context.tokenizer.bos
        return ContextShift(len(prompt) if keep < 0 else keep + has_bos, self.n_discard)

    def _resolved_reuse(self, context: ServerContext) -> int:
        if self.n_cache_reuse and not context.engine.model.can_shift:
            message = "'n_cache_reuse' can't be used: this model's cells can't be moved"
            raise InvalidRequest(message, param="n_cache_reuse")
        default = context.settings.cache_reuse
        return default if self.n_cache_reuse is None else self.n_cache_reuse

    def _resolved_slot(self, context: ServerContext) -> int | None:
        if self.id_slot == -1:
            return None
        n_slots = context.engine.model.n_slots
        if self.id_slot >= n_slots:
            raise InvalidRequest(
                f"'id_slot' must be below {n_slots}, the number of slots (got {self.id_slot})",
                param="id_slot",
            )
        return self.id_slot

    def _resolved_bias(
        self, context: ServerContext, default: tuple[tuple[int, float], ...]
    ) -> tuple[tuple[int, float], ...]:
        bias = default
        if self.logit_bias is not None:
            bias = tuple(_biased_tokens(self.logit_bias, context.tokenizer))
        if self.ignores_eos(context.settings):
            ends = sorted(context.tokenizer.end_tokens)
            bias += tuple((token, float("-inf")) for token in ends)
        return bias


def _check_infill(sampling: SamplingParams) -> None:
    """Refuse `infill` on a whole vocabulary: it takes minutes, and everybody would wait."""
    if "infill" not in sampling.samplers:
        return
    before = sampling.samplers[: sampling.samplers.index("infill")]
    if "top_k" not in before or not 0 < sampling.top_k <= MAX_INFILL_CANDIDATES:
        raise InvalidRequest(
            "'samplers' may have 'infill' only after 'top_k', with a 'top_k' of 1 to "
            f"{MAX_INFILL_CANDIDATES} (got {sampling.top_k})",
            param="samplers",
        )


def nth_choice(request: GenerationRequest, index: int) -> GenerationRequest:
    """The same request for the choice after `index` others: its seed is as much higher."""
    if index == 0:
        return request
    sampling = request.spec.sampling
    seed = (sampling.seed + index) % RANDOM_SEED
    return request.with_spec(sampling=msgspec.structs.replace(sampling, seed=seed))


def _check_names(body: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Raise `InvalidRequest` if a field is given twice, by two names and with two values."""
    for names in _names_of_one(model):
        first, *others = [name for name in names if name in body] or [""]
        for other in others:
            # As JSON, because in Python true is 1.
            if msgspec.json.encode(body[other]) != msgspec.json.encode(body[first]):
                message = f"give '{first}' or '{other}', not both: they mean the same"
                raise InvalidRequest(message, param=other)


@cache
def _names_of_one(model: type[BaseModel]) -> list[list[str]]:
    """The names of each field that has several."""
    aliases = (field.validation_alias for field in model.model_fields.values())
    return [[str(n) for n in alias.choices] for alias in aliases if isinstance(alias, AliasChoices)]


def _biased_tokens(
    pairs: Sequence[tuple[int | str, float]], tokenizer: Tokenizer
) -> Iterator[tuple[int, float]]:
    for key, bias in pairs:
        if isinstance(key, str):
            tokens = tokenizer.tokenize(key, add_special=False, parse_special=False)
            yield from ((token, bias) for token in tokens)
        elif 0 <= key < tokenizer.n_vocab:
            yield key, bias
        else:
            raise InvalidRequest(
                f"'logit_bias' names the token {key}; the vocabulary has tokens 0 to "
                f"{tokenizer.n_vocab - 1}",
                param="logit_bias",
            )
