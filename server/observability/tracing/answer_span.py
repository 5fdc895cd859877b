"""One span for each answer, in the words of OpenTelemetry's conventions for generative AI.

The span has three children: waiting for a slot (`queue`), computing the prompt (`prefill`), and
generating (`decode`). https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from __future__ import annotations

import time

from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from protocol.commands import UNLIMITED
from server.errors import ApiError
from server.generation.types import Ended, GenerationRequest, TextDelta, Timings
from server.observability.metrics import FINISHED_REASON
from server.observability.tracing.operation import operation

NANO = 1_000_000_000

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
MAX_TOKENS = "gen_ai.request.max_tokens"
TEMPERATURE = "gen_ai.request.temperature"
TOP_P = "gen_ai.request.top_p"
TOP_K = "gen_ai.request.top_k"
SEED = "gen_ai.request.seed"
FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
STOP = "gen_ai.request.stop_sequences"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
# The conventions have no word for these two.
KEY = "llamapack.key"
SLOT = "llamapack.slot"


class AnswerSpan:
    """An `AnswerObserver` whose span is a child of the span that is current when it is made."""

    def __init__(self, tracer: Tracer, model_name: str, request: GenerationRequest) -> None:
        name = f"{operation.get()} {model_name}"
        self._tracer = tracer
        self._span = tracer.start_span(name, attributes=_attributes(request, model_name))
        self._made = time.monotonic()
        self._epoch = time.time() - self._made
        self._first: float | None = None
        """When the first token came."""
        self._timings: Timings | None = None

    def opened(self) -> None:
        """The span began before."""

    def delta(self, delta: TextDelta, now: float) -> None:
        """Keep the latest timings."""
        self._timings = delta.timings
        if self._first is None:
            self._begin(delta, now)

    def ended(self, ended: Ended, now: float) -> None:
        """Say why the answer ended."""
        self._timings = ended.timings
        if self._first is None:
            self._begin(ended, now)
        self._span.set_attribute(FINISH_REASONS, [FINISHED_REASON[ended.cause]])

    def failed(self, error: Exception) -> None:
        """Say which error ended the answer, or refused it."""
        kind = error.reason if isinstance(error, ApiError) else type(error).__qualname__
        self._span.set_attribute(error_attributes.ERROR_TYPE, kind)
        self._span.set_status(Status(StatusCode.ERROR, str(error)))

    def closed(self, error: Exception | None) -> None:
        """End the span, whether the answer is complete or not."""
        if isinstance(error, ApiError):
            self.failed(error)
        timings = self._timings
        if timings is not None:
            self._span.set_attributes(
                {
                    INPUT_TOKENS: timings.cache_n + timings.prompt_n,
                    CACHED_TOKENS: timings.cache_n,
                    OUTPUT_TOKENS: timings.predicted_n,
                }
            )
            self._add_phases(timings)
        self._span.end()

    def _begin(self, item: TextDelta | Ended, now: float) -> None:
        self._first = now - item.timings.predicted_ms / 1000
        self._span.set_attribute(SLOT, item.slot)
        self._span.set_attribute(FIRST_CHUNK, now - self._made)

    def _add_phases(self, timings: Timings) -> None:
        """Make the three child spans from the engine's measurements."""
        assert self._first is not None
        started = max(self._made, self._first - timings.prompt_ms / 1000)
        first = max(started, self._first)
        self._add_phase("queue", self._made, started)
        self._add_phase("prefill", started, first)
        self._add_phase("decode", first, first + timings.predicted_ms / 1000)

    def _add_phase(self, name: str, begin: float, end: float) -> None:
        context = set_span_in_context(self._span)
        span = self._tracer.start_span(name, context, start_time=self._unix(begin))
        span.end(self._unix(end))

    def _unix(self, monotonic: float) -> int:
        return int((monotonic + self._epoch) * NANO)


def _attributes(request: GenerationRequest, model_name: str) -> dict[str, AttributeValue]:
    """Attributes of the request. The text of prompts and answers stays out of traces."""
    sampling = request.spec.sampling
    attributes: dict[str, AttributeValue] = {
        OPERATION: operation.get(),
        PROVIDER: "llamapack",
        REQUEST_MODEL: model_name,
        RESPONSE_MODEL: model_name,
        TEMPERATURE: sampling.temperature,
        TOP_P: sampling.top_p,
        TOP_K: sampling.top_k,
        SEED: sampling.seed,
        FREQUENCY_PENALTY: sampling.frequency_penalty,
        PRESENCE_PENALTY: sampling.presence_penalty,
    }
    if request.spec.max_tokens != UNLIMITED:
        attributes[MAX_TOKENS] = request.spec.max_tokens
    if request.stop:
        attributes[STOP] = request.stop
    if request.spec.tenant:
        attributes[KEY] = request.spec.tenant
    return attributes
