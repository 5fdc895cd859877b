"""Messages and responses of the official clients, while engines and servers end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.processes import DEADLINE, SAME_SUMS, Server, serving, wait_until

STORY: list[Any] = [{"role": "user", "content": "Write a long story about a fox."}]
GREEDY = {"temperature": 0.0}

ReadAnswer = Callable[[Server, Callable[[], None]], str]


def openai_client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def message(server: Server, disturb: Callable[[], None]) -> str:
    """A message's text by Anthropic's accumulator."""
    with (
        anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client,
        client.messages.stream(
            model="m", messages=STORY, max_tokens=150, extra_body=GREEDY
        ) as stream,
    ):
        for number, _ in enumerate(stream):
            if number == 10:
                disturb()
        final = stream.get_final_message()
    assert final.stop_reason == "max_tokens"
    return final.content[0].text  # type: ignore[union-attr]


def response(server: Server, disturb: Callable[[], None]) -> str:
    """A response's text by OpenAI's accumulator."""
    with (
        openai_client(server) as client,
        client.responses.stream(
            model="m", input=STORY, max_output_tokens=150, temperature=0
        ) as stream,
    ):
        for number, event in enumerate(stream):
            assert event.sequence_number == number
            last = event
            if number == 10:
                disturb()
    assert last.type == "response.incomplete"
    return last.response.output_text


def background(server: Server, disturb: Callable[[], None]) -> str:
    """The text of a response that nobody waits for."""
    with openai_client(server) as client:
        made = client.responses.create(
            model="m", input=STORY, max_output_tokens=150, temperature=0, background=True
        )
        disturb()
        return str(finished(client, made.id).output_text)


def finished(client: openai.OpenAI, id_: str) -> Any:
    """A response of the background, once it is over."""
    found: list[Any] = []

    def is_over() -> bool:
        found[:] = [client.responses.retrieve(id_)]
        return found[0].status not in ("queued", "in_progress")

    wait_until(is_over)
    return found[0]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(*SAME_SUMS) as server:
        yield server


@pytest.mark.parametrize("read", [message, response, background])
def test_nobody_notices_the_death_of_the_engine(server: Server, read: ReadAnswer) -> None:
    undisturbed = read(server, lambda: None)
    assert read(server, server.kill_engine) == undisturbed
    assert len(undisturbed) > 300


@contextmanager
def storing(path: Path, *flags: str) -> Iterator[tuple[Server, openai.OpenAI]]:
    """A server that keeps its responses in a file, and a client."""
    with (
        serving("--responses-store", str(path), *flags) as server,
        openai_client(server) as client,
    ):
        yield server, client


def test_a_stopping_server_finishes_what_nobody_waits_for(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    with storing(path) as (server, client):
        made = client.responses.create(model="m", input=STORY, background=True)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
    with storing(path) as (_, client):
        done = client.responses.retrieve(made.id)
        assert done.status in ("completed", "incomplete")
        assert done.output_text
        assert "fox" in done.output_text


def test_a_server_that_can_not_wait_says_so(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    with storing(path, "--shutdown-timeout", "0") as (server, client):
        made = [
            client.responses.create(model="m", input=STORY, background=True).id for _ in range(40)
        ]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
    with storing(path) as (_, client):
        found = [client.responses.retrieve(id_) for id_ in made]
        assert {one.status for one in found} <= {"completed", "incomplete", "failed"}
        cut = [one for one in found if one.status == "failed"]
        assert cut
        assert all(one.error is not None and "stopping" in one.error.message for one in cut)


def test_what_a_killed_server_was_making_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    with storing(path) as (server, client):
        done = client.responses.create(
            model="m", input="Hi", background=True, max_output_tokens=1
        ).id
        finished(client, done)
        lost = [
            client.responses.create(model="m", input=STORY, background=True).id for _ in range(40)
        ][-1]
        server.end()
    with storing(path) as (server, client):
        assert client.responses.retrieve(done).status == "incomplete"
        found = client.responses.retrieve(lost)
        assert found.status == "failed"
        assert found.error is not None
        assert found.error.code == "server_error"
        with pytest.raises(openai.BadRequestError):
            client.responses.retrieve(lost, stream=True)
        assert httpx.get(f"{server.url}/health", timeout=DEADLINE).status_code == 200
