"""The fields of a request body that control sampling and output, shared by all dialects.

The names are llama-server's. A missing or null field means the server's default. A value out of
the bounds below is refused by name; values are never clamped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    ConfigDict,
    Field,
    StrictStr,
    model_validator,
)

from server.bodies.bounds import (
    ADAPTERS,
    ALL_BREAKER_CHARS,
    BREAKER_CHARS,
    BREAKERS,
    CHOICES,
    LOGPROBS,
    TRIGGER_CHARS,
    TRIGGERS,
)
from server.bodies.few import few
from server.bodies.label import Label
from server.bodies.request_model import RequestModel, without_nulls
from server.generation.types import MAX_PRIORITY
from server.model.adapters import LoraScale
from server.requests.field_names import check_names
from server.requests.field_types import (
    INT32_MAX,
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
from server.requests.unsupported_fields import (
    LLAMA_SERVER_FIELDS,
    Unsupported,
    refuse_unsupported,
)
from server.structured_output.output_format import (
    Kind,
    OutputFormat,
    grammar_format,
    lazily,
    only_format,
    schema_format,
)
from server.structured_output.triggers import GrammarTrigger
from server.structured_output.vllm_field import StructuredOutputs


def _few_characters(breakers: tuple[str, ...]) -> tuple[str, ...]:
    if sum(map(len, breakers)) > ALL_BREAKER_CHARS.most:
        raise ValueError(f"must have at most {ALL_BREAKER_CHARS.most} characters in all strings")
    return breakers


_Breaker = Annotated[StrictStr, Field(max_length=BREAKER_CHARS.most)]
_Breakers = Annotated[
    tuple[_Breaker, ...],
    Field(min_length=1, max_length=BREAKERS.most),
    few(BREAKERS),
    AfterValidator(_few_characters),
]
_Mark = Annotated[StrictStr, Field(max_length=TRIGGER_CHARS.most)]
_Marks = Annotated[list[_Mark], Field(max_length=TRIGGERS.most), few(TRIGGERS)]
_Triggers = Annotated[list[GrammarTrigger], Field(max_length=TRIGGERS.most), few(TRIGGERS)]


class StreamOptions(RequestModel):
    """Additions to a streamed answer."""

    include_usage: Flag = False


class SamplingFields(RequestModel):
    """Base of the bodies that ask for a completion."""

    model_config = ConfigDict(allow_inf_nan=False)

    unsupported: ClassVar[Mapping[str, Unsupported]] = LLAMA_SERVER_FIELDS
    """Fields that are refused; dialects add theirs."""

    model: Label | None = None
    """The model's name, or that of an adapter, which the answer then has alone."""
    n_predict: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = Field(
        None, validation_alias=AliasChoices("n_predict", "max_completion_tokens", "max_tokens")
    )
    """Most tokens of an answer. -1 is no limit. 0 computes the prompt and generates nothing."""
    t_max_predict_ms: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] = -1
    """Milliseconds after the first token. The answer ends at the next line break, so that no line
    is cut. 0 or less is no limit."""
    n_keep: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = None
    """Tokens at the beginning that a context shift never discards, besides a BOS. -1 is the whole
    prompt."""
    n_discard: Count = 0
    """Tokens that a context shift discards at once. 0 is half of the tokens that it may discard."""
    n: Annotated[Whole, Field(ge=1, le=CHOICES.most)] = Field(
        1, validation_alias=AliasChoices("n_cmpl", "n")
    )
    stop: StopStrings = Field(default_factory=list)
    ignore_eos: Flag | None = None
    id_slot: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] = -1
    cache_prompt: Flag | None = None
    n_cache_reuse: ReusedChunk | None = None
    """Shortest chunk, in tokens, that is reused after an edit in the prompt. The chunk's cells move
    within the slot, so the result is an approximation. 0 reuses prefixes only."""
    lora: Annotated[list[LoraScale], Field(max_length=ADAPTERS.most), few(ADAPTERS)] | None = None
    """Scales of the adapters for this answer. Adapters that are not listed get 0."""
    cache_salt: Salt = ""
    """Only requests with the same salt share cached prefixes."""
    priority: Annotated[Whole, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Of the waiting requests, those with the highest priority start first."""
    spec_type: DraftMethods | None = Field(
        None, validation_alias=AliasChoices("spec_type", "speculative.type", "speculative.types")
    )
    """Draft methods, out of those that the server was started with. `none` turns drafts off."""
    spec_n_max: Count | None = Field(
        None, validation_alias=AliasChoices("spec_n_max", "speculative.n_max")
    )
    """Most draft tokens at once; the server's own limit holds too. 0 turns drafts off."""
    spec_n_min: Count | None = Field(
        None, validation_alias=AliasChoices("spec_n_min", "speculative.n_min")
    )
    """Drafts with fewer tokens are discarded."""
    spec_p_min: Probability | None = Field(
        None, validation_alias=AliasChoices("spec_p_min", "speculative.p_min")
    )
    """The draft model stops before a token whose probability is lower."""
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    """Taken modulo 2**32. -1 draws a seed."""

    stream: Flag = False
    stream_options: StreamOptions = StreamOptions()
    return_tokens: Flag = False
    return_progress: Flag = False
    return_cache_info: Flag = False
    """Say in `timings` what the cache had of the prompt, and why it had no more."""
    timings_per_token: Flag = False
    verbose: Flag | None = None
    """Add the prompt's text and the settings in force to OpenAI's answers, as `__verbose`."""
    sse_ping_interval: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = None
    n_probs: Annotated[Whole, Field(ge=0, le=LOGPROBS.most)] = 0
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
    dry_sequence_breakers: _Breakers | None = None
    mirostat: Annotated[Whole, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    mirostat_eta: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    adaptive_target: Annotated[Real, Field(ge=-1e6, le=1)] | None = None
    """Negative is off."""
    adaptive_decay: Annotated[Real, Field(ge=0, le=0.99)] | None = None
    logit_bias: LogitBias | None = None
    backend_sampling: Flag | None = None
    """Let the model's device find the likeliest tokens, where that gives the same answer."""

    grammar: StrictStr | None = None
    json_schema: Any = None
    structured_outputs: StructuredOutputs | None = None
    grammar_lazy: Flag = False
    """The grammar or schema applies from a trigger on. Before the trigger the answer is free."""
    grammar_triggers: Annotated[list[GrammarTrigger], Field(max_length=TRIGGERS.most)] = Field(
        default_factory=list
    )
    preserved_tokens: Annotated[list[_Mark], Field(max_length=TRIGGERS.most), few(TRIGGERS)] = (
        Field(default_factory=list)
    )
    """Control tokens, by their spelling, that are part of the answer's text."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, body: Any) -> Any:
        """Refuse fields that can't be honoured, and one field given twice."""
        if isinstance(body, dict):
            refuse_unsupported(body, cls.unsupported)
            check_names(without_nulls(body), cls)
        return body

    def output_format(self) -> OutputFormat:
        """What the answer has to follow. Raises `InvalidRequest` for fields that conflict."""
        format_ = only_format(self._formats())
        return lazily(format_, self.grammar_triggers) if self.grammar_lazy else format_

    @property
    def is_structured(self) -> bool:
        """Whether a constraint has to be built for the answer."""
        return any(format_.kind is not Kind.TEXT for format_ in self._formats())

    def _formats(self) -> Iterator[OutputFormat]:
        """Every field that constrains the answer; dialects add theirs."""
        if self.structured_outputs is not None:
            yield self.structured_outputs.output_format()
        if self.json_schema is not None:
            yield schema_format(self.json_schema, "json_schema")
        if self.grammar:
            yield grammar_format(self.grammar, "grammar")

    @property
    def user_hint(self) -> str:
        """Whom the request is for, in the words of the client; "" if it doesn't say."""
        return ""

    def ping_seconds(self, settings_interval: int) -> int:
        """Seconds of silence before a ping is sent on the stream; 0 is never."""
        interval = self.sse_ping_interval
        return max(settings_interval if interval is None else interval, 0)
