"""The fields of a request body that steer sampling and output, shared by all dialects.

The names are llama-server's. A missing or null field means the server's default; a value out of
the bounds below is refused by name rather than clamped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictStr,
    model_validator,
)

from server.generation.types import MAX_PRIORITY
from server.model.adapters import LoraScale
from server.requests.field_names import check_names
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
from server.requests.unsupported_fields import (
    LLAMA_SERVER_FIELDS,
    Unsupported,
    refuse_unsupported,
)
from server.structured_output.output_format import (
    OutputFormat,
    grammar,
    json_schema,
    lazily,
    only_format,
)
from server.structured_output.triggers import MAX_TRIGGERS, GrammarTrigger
from server.structured_output.vllm_field import StructuredOutputs


class StreamOptions(BaseModel):
    """What a streamed answer tells besides the text."""

    include_usage: Flag = False


class SamplingFields(BaseModel):
    """Base of the bodies that ask for a completion."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    unsupported: ClassVar[Mapping[str, Unsupported]] = LLAMA_SERVER_FIELDS
    """Fields that are refused; dialects add theirs."""

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
        refuse_unsupported(body, cls.unsupported)
        given = {name: value for name, value in body.items() if value is not None}
        check_names(given, cls)
        return given

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

    def ping_seconds(self, settings_interval: int) -> int:
        """Seconds of silence before a comment goes out on the stream; 0 is never."""
        interval = self.sse_ping_interval
        return max(settings_interval if interval is None else interval, 0)
