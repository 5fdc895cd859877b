"""Traces of requests, as OpenTelemetry's own SDK receives them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from functools import partial

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import SpanKind, StatusCode

from config import ServeSettings
from server.access.key_ring import KeyRing
from server.app import create_app
from server.errors import EngineFailed, Overloaded
from server.observability.tracing.opentelemetry_tracing import (
    MAX_ATTRIBUTE_CHARS,
    OpenTelemetryTracing,
)
from tests.support.fake_server import MODEL_NAME, ScriptedGenerator, key_ring, make_server

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traced:
    """An application on fakes, and the spans that have ended so far."""

    def __init__(self, generator: ScriptedGenerator, keys: KeyRing | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracing = tracing = OpenTelemetryTracing(self._exporter)
        context = make_server(ServeSettings(), generator).context
        generator_with_spans = context.generator.observed_by(partial(tracing.observe, MODEL_NAME))
        context = dataclasses.replace(context, generator=generator_with_spans)
        app = create_app(context, keys=keys, tracing=tracing)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        self._tracing.close()
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        """The one span of this name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span


@pytest.fixture
def generator() -> ScriptedGenerator:
    return ScriptedGenerator(queued=0.01)


@pytest.fixture
async def traced(generator: ScriptedGenerator) -> AsyncIterator[Traced]:
    traced = Traced(generator)
    async with traced.client:
        yield traced


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_a_span_under_its_request(traced: Traced, stream: bool) -> None:
    body = {**BODY, "stream": stream, "temperature": 0.5, "max_tokens": 50, "stop": ["\n"]}
    response = await traced.client.post(CHAT, json=body, headers={"traceparent": PARENT})
    request, answer = traced.named(f"POST {CHAT}"), traced.named(f"chat {MODEL_NAME}")
    assert request.kind is SpanKind.SERVER
    assert request.context
    assert request.parent
    assert answer.context
    assert answer.parent
    assert f"{request.parent.trace_id:032x}-{request.parent.span_id:016x}" in PARENT
    assert answer.parent.span_id == request.context.span_id
    assert answer.context.trace_id == request.context.trace_id
    told = attributes(request)
    assert told["http.route"] == told["url.path"] == CHAT
    assert told["http.response.status_code"] == 200
    assert told["llamapack.request_id"] == response.headers["x-request-id"]
    told = attributes(answer)
    assert told[gen_ai.GEN_AI_OPERATION_NAME] == "chat"
    assert told[gen_ai.GEN_AI_PROVIDER_NAME] == "llamapack"
    assert told[gen_ai.GEN_AI_REQUEST_MODEL] == MODEL_NAME
    assert told[gen_ai.GEN_AI_REQUEST_TEMPERATURE] == 0.5
    assert told[gen_ai.GEN_AI_REQUEST_MAX_TOKENS] == 50
    assert told[gen_ai.GEN_AI_REQUEST_STOP_SEQUENCES] == ("\n",)
    assert told[gen_ai.GEN_AI_RESPONSE_FINISH_REASONS] == ("stop",)
    assert told[gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS] == 3
    assert told[gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS] == 2
    if not stream:
        assert told[gen_ai.GEN_AI_USAGE_INPUT_TOKENS] == response.json()["usage"]["prompt_tokens"]


async def test_all_names_are_those_of_the_conventions_or_say_that_they_are_ours(
    traced: Traced,
) -> None:
    known = {value for name, value in vars(gen_ai).items() if name.startswith("GEN_AI_")}
    await traced.client.post(CHAT, json={**BODY, "max_tokens": 5, "stop": ["x"]})
    names = attributes(traced.named(f"chat {MODEL_NAME}"))
    assert {name for name in names if not name.startswith("llamapack.")} <= known


async def test_where_the_time_went(traced: Traced) -> None:
    await traced.client.post("/completion", json={"prompt": "hi"})
    answer = traced.named(f"text_completion {MODEL_NAME}")
    phases = [traced.named(name) for name in ("queue", "prefill", "decode")]
    assert answer.context
    assert {phase.parent and phase.parent.span_id for phase in phases} == {answer.context.span_id}
    times = [time for phase in phases for time in (phase.start_time, phase.end_time)]
    assert times == sorted(times)  # type: ignore[type-var]
    assert answer.start_time == pytest.approx(times[0], abs=1e6)


async def test_each_choice_has_its_span(traced: Traced) -> None:
    await traced.client.post(CHAT, json={**BODY, "n": 3})
    assert sum(span.name == f"chat {MODEL_NAME}" for span in traced.spans) == 3


async def test_an_answer_that_fails_is_an_error(
    traced: Traced, generator: ScriptedGenerator
) -> None:
    generator.fail_after = (2, EngineFailed("gone"))
    await traced.client.post(CHAT, json={**BODY, "stream": True})
    answer = traced.named(f"chat {MODEL_NAME}")
    assert answer.status.status_code is StatusCode.ERROR
    assert attributes(answer)["error.type"] == "server"
    assert attributes(answer)[gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS] == 2


async def test_a_refusal_is_an_error_of_the_answer_and_none_of_the_server(
    traced: Traced, generator: ScriptedGenerator
) -> None:
    generator.fail_on_open = Overloaded("full", retry_after=1, reason="queue_full")
    await traced.client.post(CHAT, json=BODY)
    assert attributes(traced.named(f"chat {MODEL_NAME}"))["error.type"] == "queue_full"
    request = traced.named(f"POST {CHAT}")
    assert attributes(request)["http.response.status_code"] == 429
    assert request.status.status_code is StatusCode.UNSET


async def test_paths_that_nobody_serves_give_the_span_no_name(traced: Traced) -> None:
    await traced.client.get("/somewhere/secret")
    assert [span.name for span in traced.spans] == ["GET"]


async def test_probes_are_not_traced(traced: Traced) -> None:
    for path in ("/health", "/livez", "/readyz"):
        await traced.client.get(path)
    assert not traced.spans


async def test_neither_keys_nor_text_get_into_spans(generator: ScriptedGenerator) -> None:
    generator.pieces = ("classified answer",)
    traced = Traced(generator, key_ring("sk-secret"))
    body = {"messages": [{"role": "user", "content": "classified question"}]}
    await traced.client.post(CHAT, json=body, headers={"Authorization": "Bearer sk-secret"})
    answer = traced.named(f"chat {MODEL_NAME}")
    assert attributes(answer)["llamapack.key"] == "api-key-1"
    told = "".join(span.to_json() for span in traced.spans)
    assert "secret" not in told
    assert "classified" not in told


@pytest.mark.parametrize("length", [2000, 20_000, 60_000])
async def test_what_clients_choose_is_short_in_spans(traced: Traced, length: int) -> None:
    await traced.client.get("/" + "a" * length, headers={"User-Agent": "b" * length})
    [span] = traced.spans
    values = [value for value in (span.attributes or {}).values() if isinstance(value, str)]
    assert max(len(value) for value in values) == MAX_ATTRIBUTE_CHARS
