"""Responses of the background: they run on, are polled, followed, ended, bounded and stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from config import ServeSettings
from server.access.audit_log import AuditLog
from server.access.key import ApiKey, KeyQuota, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from server.errors import EngineFailed, Overloaded
from server.openai.responses import background
from tests.http.openai.conftest import Live, Serve
from tests.support.fake_server import ScriptedGenerator, make_server
from tests.support.live import DEADLINE, serving
from tests.support.live import wait_for as wait_until

SLOW = {"delay": 0.05}
ENDLESS: dict[str, Any] = {"pieces": ("la",) * 100_000, "delay": 0.01}
DONE = ("completed", "failed", "incomplete", "cancelled")


def begin(live: Live, **fields: Any) -> Any:
    """A response of the background, through the official client."""
    asked: dict[str, Any] = {"model": "any", "input": "Hi", "background": True} | fields
    return live.client.responses.create(**asked)


def wait_for(live: Live, id_: str, *statuses: str) -> Any:
    """The response once it has one of these statuses."""
    deadline = time.monotonic() + DEADLINE
    while (found := live.client.responses.retrieve(id_)).status not in (statuses or DONE):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return found


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def test_a_response_runs_on_and_is_polled(serve: Serve) -> None:
    live = serve(queued=0.5, delay=0.3)  # so that no state is over before it is seen
    made = begin(live)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    seen = wait_for(live, made.id, "in_progress")
    assert (seen.id, seen.usage) == (made.id, None)
    done = wait_for(live, made.id)
    assert (done.status, done.output_text) == ("completed", "Hello, world")
    assert done.usage is not None
    follow_up = live.client.responses.create(model="any", input="So?", previous_response_id=made.id)
    assert follow_up.status == "completed"
    assert live.prompt() == "<|user|>Hi<|assistant|>Hello, world<|user|>So?<|assistant|>"


def test_a_response_that_is_not_ready_has_no_follow_up(serve: Serve) -> None:
    live = serve(**ENDLESS)
    made = begin(live)
    with pytest.raises(openai.BadRequestError, match="isn't ready") as refused:
        live.client.responses.create(model="any", input="So?", previous_response_id=made.id)
    assert refused.value.param == "previous_response_id"
    live.client.responses.cancel(made.id)


@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_a_client_that_leaves_the_stream_comes_back_to_it(serve: Serve, taken: int) -> None:
    live = serve(queued=0.1, **SLOW)
    stream = begin(live, stream=True)
    first = [next(stream) for _ in range(taken)]
    stream.close()
    id_ = first[0].response.id
    after = first[-1].sequence_number
    rest: list[Any] = list(live.client.responses.retrieve(id_, stream=True, starting_after=after))
    kinds = [event.type for event in (*first, *rest)]
    assert kinds[:3] == ["response.created", "response.queued", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert numbers([*first, *rest]) == list(range(len(kinds)))
    # The whole stream can be had again, by any number of readers, after the end too.
    again = list(live.client.responses.retrieve(id_, stream=True))
    assert [event.type for event in again] == kinds
    assert rest[-1].response.output_text == "Hello, world"


def test_the_official_helper_follows_a_response(serve: Serve) -> None:
    live = serve(("<think>hm</think>", "Yes"), **SLOW)
    made = begin(live)
    with live.client.responses.stream(response_id=made.id, starting_after=2) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_response()
    assert numbers(events) == list(range(3, 3 + len(events)))
    assert (final.status, final.output_text) == ("completed", "Yes")


def test_a_response_is_cancelled(serve: Serve) -> None:
    live = serve(**ENDLESS)
    made = begin(live)
    wait_for(live, made.id, "in_progress")
    stream: Any = live.client.responses.retrieve(made.id, stream=True)
    while next(stream).type != "response.output_text.delta":
        pass
    ended = live.client.responses.cancel(made.id)
    assert ended.status == "cancelled"
    assert ended.output_text.startswith("la")
    assert [event.type for event in stream][-1] == "response.cancelled"
    assert live.client.responses.cancel(made.id) == ended
    assert live.client.responses.retrieve(made.id) == ended
    assert (live.generator.running, live.generator.aborted) == (0, 1)


def test_a_finished_response_stays_as_it_is_when_it_is_cancelled(serve: Serve) -> None:
    live = serve()
    made = begin(live)
    done = wait_for(live, made.id)
    assert live.client.responses.cancel(made.id) == done


def test_only_responses_of_the_background_are_cancelled_and_followed(serve: Serve) -> None:
    live = serve()
    made = live.client.responses.create(model="any", input="Hi")
    with pytest.raises(openai.BadRequestError, match="background"):
        live.client.responses.cancel(made.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        live.client.responses.retrieve(made.id, stream=True)
    with pytest.raises(openai.NotFoundError):
        live.client.responses.cancel("resp_none")


def test_a_running_response_is_deleted(serve: Serve) -> None:
    live = serve(**ENDLESS)
    made = begin(live)
    live.client.responses.delete(made.id)
    for ask in (live.client.responses.retrieve, live.client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    with pytest.raises(openai.NotFoundError):
        live.client.responses.retrieve(made.id, stream=True)
    assert live.generator.running == 0


def test_a_failure_is_told(serve: Serve) -> None:
    live = serve(fail_after=(2, EngineFailed("it broke")))
    stream = list(begin(live, stream=True))
    assert stream[-1].type == "response.failed"
    failed = live.client.responses.retrieve(stream[-1].response.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("server_error", "it broke")
    # What there was of the answer is kept, and marked.
    assert failed.output_text == "Hello,"
    assert failed.output[0].status == "incomplete"  # type: ignore[union-attr]


def test_what_is_refused_is_refused_at_once(serve: Serve) -> None:
    live = serve(fail_on_open=Overloaded("full", retry_after=1))
    with pytest.raises(openai.RateLimitError):
        begin(live)
    answer = serve().post("/v1/responses", input="Hi", background=True, store=False)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=maybe", "stream"),
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=1e3", "starting_after"),
        ("stream=true&starting_after=" + "9" * 400, "starting_after"),
        ("stream=true&starting_after=%D9%A3", "starting_after"),
        ("starting_after=1", "starting_after"),
        ("stream=false&starting_after=1", "starting_after"),
    ],
)
def test_a_wrong_query_names_its_parameter(serve: Serve, query: str, param: str) -> None:
    live = serve()
    made = begin(live)
    answer = httpx.get(f"{live.url}/v1/responses/{made.id}?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_each_owner_has_a_number_of_responses(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_RUNNING_EACH", 2)
    live = serve(**ENDLESS)
    made = [begin(live) for _ in range(2)]
    with pytest.raises(openai.RateLimitError, match="2 responses"):
        begin(live)
    live.client.responses.cancel(made[0].id)
    made[0] = begin(live)
    for one in made:
        live.client.responses.cancel(one.id)


def test_an_answer_that_is_too_large_fails(serve: Serve) -> None:
    live = serve(("x" * 1000,) * 3000, settings=ServeSettings(max_answer_size=1))
    made = begin(live)
    failed = wait_for(live, made.id)
    assert failed.status == "failed"
    assert "1 MiB" in failed.error.message
    assert failed.output_text.startswith("xxx")


def test_a_long_answer_goes_on_without_its_first_events(serve: Serve) -> None:
    live = serve(("x",) * 5000, settings=ServeSettings(max_answer_size=1))
    made = begin(live)
    done = wait_for(live, made.id)
    assert (done.status, done.output_text) == ("completed", "x" * 5000)
    with pytest.raises(openai.BadRequestError, match="known from") as refused:
        live.client.responses.retrieve(made.id, stream=True)
    known = int(str(refused.value.body["message"]).split()[-2])  # type: ignore[index]
    events = list(live.client.responses.retrieve(made.id, stream=True, starting_after=known))
    assert numbers(events) == list(range(known + 1, known + 1 + len(events)))
    assert events[-1].type == "response.completed"


Keyed = Callable[[str], openai.OpenAI]


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[tuple[Keyed, Path, ScriptedGenerator]]:
    """Clients of two keys, of which each may do one thing at a time."""
    one = KeyQuota(max_concurrent=1)
    keys = [ApiKey(name=name, digest=digest_of(name.encode()), quota=one) for name in "ab"]
    ring = KeyRing(keys, time.monotonic())
    generator = ScriptedGenerator(**ENDLESS)
    log = tmp_path / "audit.jsonl"
    app = create_app(make_server(generator=generator).context, keys=ring, audit=AuditLog(log))
    with ExitStack() as stack:
        url = stack.enter_context(serving(app))

        def client(key: str) -> openai.OpenAI:
            made = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
            return stack.enter_context(made)

        yield client, log, generator


def test_keys_have_their_own_and_pay_for_what_runs_on(
    audited: tuple[Keyed, Path, ScriptedGenerator],
) -> None:
    client, log, _ = audited
    mine, others = client("a"), client("b")
    made = mine.responses.create(model="m", input="Hi", background=True)
    ask: Any
    for ask in (others.responses.retrieve, others.responses.cancel, others.responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    with pytest.raises(openai.NotFoundError):
        others.responses.retrieve(made.id, stream=True)
    # The request is over, but its place is taken until the response ends.
    with pytest.raises(openai.RateLimitError):
        mine.responses.create(model="m", input="Hi")
    while not mine.responses.retrieve(made.id).output:
        time.sleep(0.01)
    assert mine.responses.cancel(made.id).status == "cancelled"

    def answered() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [one for one in lines if (one["path"], one["status"]) == ("/v1/responses", 200)]

    assert wait_until(answered)
    [line] = answered()
    assert line["key"] == "a"
    assert line["generated_tokens"] > 0
