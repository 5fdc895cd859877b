"""The parts of the Ray application that need no Ray: options, prompts, errors, scaling."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from llamapack_ray.call import MAX_PROMPT, Head, kept, prompt_of
from llamapack_ray.failures import last_words, refusal
from llamapack_ray.options import Options
from llamapack_ray.scaling import QueuePolicy
from pydantic import ValidationError

from tests.support.paths import ROOT

yaml = pytest.importorskip("yaml")

RAY = ROOT / "deploy" / "ray"


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# --- prompts -----------------------------------------------------------------------------

SYSTEM = "You are a careful assistant."
ASKED = {"role": "user", "content": "What is the capital of France?"}
SAID = {"role": "assistant", "content": [{"type": "text", "text": "Paris."}]}
MORE = {"role": "user", "content": "And of Italy?"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (body(messages=[ASKED]), body(messages=[ASKED, SAID, MORE])),
        (body(system=SYSTEM, messages=[ASKED]), body(system=SYSTEM, messages=[ASKED, SAID])),
        (body(messages=[ASKED], model="a"), body(model="b", messages=[ASKED, SAID])),
        (body(instructions=SYSTEM, input="Hi"), body(input="Hi there", instructions=SYSTEM)),
        (body(prompt="Once upon"), body(prompt="Once upon a time", n_predict=3)),
        (body(prompt=["Once"]), body(prompt=["Once", "more"])),
        (body(input_prefix="def f("), body(input_prefix="def f(x", input_suffix="return")),
    ],
)
def test_a_turn_begins_like_the_turn_before(first: bytes, second: bytes) -> None:
    beginning = prompt_of(first)
    assert beginning
    assert prompt_of(second).startswith(beginning)


def test_chats_that_differ_share_nothing() -> None:
    first, second = (prompt_of(body(messages=[{"role": "user", "content": c}])) for c in "ab")
    assert (first, second) == ("a", "b")


@pytest.mark.parametrize(
    "one",
    [b"", b"{", b"[]", b"7", b'"text"', b"{}", b"\xff\xfe", body(model="m"), b"[" * 100_000],
)
def test_a_body_without_a_prompt_has_none(one: bytes) -> None:
    assert prompt_of(one) == ""


def test_a_long_prompt_is_cut() -> None:
    assert len(prompt_of(body(prompt="x" * 10 * MAX_PROMPT))) == MAX_PROMPT
    many = [{"role": "user", "content": "word " * 100} for _ in range(1000)]
    assert MAX_PROMPT - 10 <= len(prompt_of(body(messages=many))) <= MAX_PROMPT


def test_headers_of_a_connection_are_not_passed_on() -> None:
    given = [("Connection", "close"), ("X-Request-Id", "7"), ("Transfer-Encoding", "chunked")]
    assert kept(iter(given)) == (("X-Request-Id", "7"),)


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "prefix"),
    [
        ("/v1/chat/completions", "text/event-stream; charset=utf-8", b'data: {"error":'),
        ("/completion", "text/event-stream", b'data: {"error":'),
        ("/v1/messages", "text/event-stream", b'event: error\ndata: {"type":"error",'),
        ("/v1/responses", "text/event-stream", b'event: error\ndata: {"type":"error",'),
        ("/api/chat", "application/x-ndjson", b'{"error":'),
    ],
)
def test_a_stream_ends_with_an_error_of_its_dialect(path: str, kind: str, prefix: bytes) -> None:
    words = last_words(path, kind)
    assert words is not None
    assert words.startswith(prefix)
    assert words.endswith(b"\n" if kind == "application/x-ndjson" else b"\n\n")
    assert b"send the request again" in words


@pytest.mark.parametrize("kind", ["application/json", "", "text/plain"])
def test_other_answers_can_only_be_cut_off(kind: str) -> None:
    assert last_words("/v1/chat/completions", kind) is None


def test_a_refusal_says_when_to_come_again() -> None:
    for path, expected in (("/v1/completions", "unavailable_error"), ("/v1/messages", "error")):
        head, answer = refusal(path)
        assert head.status == 503
        assert dict(head.headers)["retry-after"] == "1"
        assert int(dict(head.headers)["content-length"]) == len(answer)
        assert expected in json.loads(answer).get("error", {}).get("type", "")


def test_the_content_type_is_found_in_any_case() -> None:
    assert Head(200, (("Content-TYPE", "a/b"),)).content_type == "a/b"
    assert Head(200, ()).content_type == ""


# --- options -----------------------------------------------------------------------------


def test_flags_are_words_of_a_shell() -> None:
    options = Options(flags="-m 'my model.gguf' -np 8")
    assert options.arguments == ("-m", "my model.gguf", "-np", "8")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"replicas": 2}, "replicas"),
        ({"flags": "--port 80"}, "--port is the application's own"),
        ({"flags": "--host=0.0.0.0"}, "--host is the application's own"),
        ({"flags": "'open"}, "quotation"),
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas must not be less"),
        ({"routing": "random"}, "routing"),
        ({"kv_use": 80}, "kv_use"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Options(**wrong)


def test_the_cluster_file_has_options_that_are_there() -> None:
    config = yaml.safe_load((RAY / "cluster.yaml").read_text())
    (application,) = config["applications"]
    assert application["import_path"] == "llamapack_ray.app:build"
    options = Options(**application["args"])
    assert options.gpus == 1


def test_the_page_lists_the_options() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    for name, field in Options.model_fields.items():
        assert f"`{name}`" in page, name
        if isinstance(field.default, float | int) and field.default > 1:
            assert str(field.default) in page


# --- scaling -----------------------------------------------------------------------------


def wanted(
    replicas: int, waiting: list[float], running: list[float], kv_use: list[float] | None = None
) -> int:
    stats = {
        name: {f"replica {number}": value for number, value in enumerate(values)}
        for name, values in (
            ("waiting", waiting),
            ("running", running),
            ("kv_use", kv_use or [0.0] * len(running)),
        )
    }
    context = SimpleNamespace(current_num_replicas=replicas, aggregated_metrics=stats)
    number, state = QueuePolicy(waiting=2, kv_use=0.8)(context)
    assert state == {}
    return number


def test_what_waits_brings_replicas() -> None:
    assert wanted(1, [5], [4]) == 3
    assert wanted(2, [3, 2], [4, 4]) == 3
    assert wanted(1, [1], [4]) == 1


def test_a_full_cache_brings_replicas() -> None:
    assert wanted(1, [0], [2], [0.9]) == 2
    assert wanted(2, [0, 0], [2, 2], [0.85, 0.85]) == 3


def test_full_slots_without_a_queue_are_kept() -> None:
    assert wanted(3, [0, 0, 0], [4, 4, 1], [0.2, 0.2, 0.1]) == 3


def test_an_idle_replica_goes_and_one_at_a_time() -> None:
    assert wanted(4, [0] * 4, [4, 0, 0, 0]) == 3
    assert wanted(4, [0] * 4, [0] * 4) == 3


def test_nobody_goes_while_something_waits() -> None:
    assert wanted(3, [1, 0, 0], [4, 0, 0]) == 3


def test_without_numbers_yet_nothing_changes_up() -> None:
    context = SimpleNamespace(current_num_replicas=2, aggregated_metrics=None)
    assert QueuePolicy(waiting=2, kv_use=0.8)(context)[0] <= 2


# --- the engine's life -------------------------------------------------------------------


def test_an_engine_ends_with_its_replica(tmp_path: Path) -> None:
    """However the replica ends, its end of the lifeline closes."""
    mark = tmp_path / "ended"
    program = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(mark)!r}).touch(), "
        "sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    lifeline = RAY / "llamapack_ray" / "lifeline.py"
    held = subprocess.Popen(
        [sys.executable, str(lifeline), sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdin is not None
    assert held.stdout is not None
    assert held.stdout.readline() == b"ready\n"
    held.stdin.close()
    assert held.wait(30) == 0
    held.stdout.close()
    assert mark.exists()


def test_the_status_of_an_engine_that_ends_is_passed_on() -> None:
    lifeline = RAY / "llamapack_ray" / "lifeline.py"
    command = [sys.executable, str(lifeline), sys.executable, "-c", "raise SystemExit(3)"]
    held = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert held.wait(30) == 3
    assert held.stdin is not None
    held.stdin.close()
