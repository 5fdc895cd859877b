"""What one key's requests tell about another's: nothing, unless the operator lets keys share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import load_settings
from server.access.key_ring import read_keys
from tests.support.live_engine import LetterBackend, Live, letter, live_server

PROMPT = "The committee meets on Tuesday, and nobody else may know what it decides. " * 4 + "So"
LONG = len(PROMPT) - 1
"""Nearly all tokens of the prompt; templates put something before it."""

KEYS = """
[keys.alice]
key = "a"
admin = true
[keys.bob]
key = "b"
admin = true
[keys.red]
key = "r"
cache_group = "team"
[keys.blue]
key = "u"
cache_group = "team"
[keys.zoe]
key = "z"
isolate = true
"""

Serve = Callable[..., AbstractContextManager[Live]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serves with the keys of `KEYS`, and `k1` and `k2` without names."""

    @contextmanager
    def serving(*flags: str, n_slots: int = 4, cache_bytes: int = 0) -> Iterator[Live]:
        (tmp_path / "keys.toml").write_text(KEYS)
        keys = ("--api-keys-toml", str(tmp_path / "keys.toml"), "--api-key", "k1,k2")
        settings = load_settings([*keys, "--slot-save-path", str(tmp_path), *flags], {})

        def make_backend() -> LetterBackend:
            return LetterBackend(n_slots=n_slots, n_ctx_slot=512, n_vocab=259, next_token=letter)

        with live_server(
            make_backend, settings, keys=read_keys(settings), cache_bytes=cache_bytes
        ) as live:
            yield live

    return serving


def completion(live: Live, key: str, prompt: str = PROMPT, **fields: Any) -> int:
    """Cached tokens of a completion."""
    body = {"prompt": prompt, "n_predict": 2, **fields}
    return int(post(live, "/completion", key, body)["timings"]["cache_n"])


def text_completion(live: Live, key: str) -> int:
    """Cached tokens in OpenAI's dialect."""
    body = {"prompt": PROMPT, "max_tokens": 2}
    return _details(post(live, "/v1/completions", key, body))


def chat(live: Live, key: str) -> int:
    """Cached tokens of a chat."""
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2}
    return _details(post(live, "/v1/chat/completions", key, body))


def _details(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def post(live: Live, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    response = live.client.post(path, json=body, headers={"X-Api-Key": key})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def act(live: Live, key: str, action: str, slot: int, **body: Any) -> httpx.Response:
    return live.client.post(
        f"/slots/{slot}?action={action}",
        json={"filename": "f", **body},
        headers={"X-Api-Key": key},
    )


@pytest.mark.parametrize("ask", [completion, text_completion, chat])
@pytest.mark.parametrize(
    ("flags", "first", "second", "is_shared"),
    [
        ((), "a", "b", False),
        ((), "k1", "k2", False),
        ((), "a", "k1", False),
        ((), "r", "u", True),
        ((), "r", "a", False),
        ((), "z", "a", False),
        ((), "a", "a", True),
        (("--cache-sharing", "all"), "a", "b", True),
        (("--cache-sharing", "all"), "k1", "b", True),
        (("--cache-sharing", "all"), "z", "a", False),
        (("--cache-sharing", "all"), "a", "z", False),
        (("--cache-sharing", "all"), "a", "r", False),
    ],
)
def test_who_finds_a_prefix_of_whom(
    serve: Serve,
    ask: Callable[[Live, str], int],
    flags: tuple[str, ...],
    first: str,
    second: str,
    is_shared: bool,
) -> None:
    with serve(*flags) as live:
        assert ask(live, first) == 0
        cached = ask(live, second)
        assert cached >= LONG if is_shared else cached == 0
        assert ask(live, first) >= LONG  # of its own


@pytest.mark.parametrize("flags", [(), ("--cache-sharing", "all")])
def test_a_salt_divides_further_and_joins_nobody(serve: Serve, flags: tuple[str, ...]) -> None:
    with serve(*flags) as live:
        assert completion(live, "a", cache_salt="s") == 0
        assert completion(live, "a") == 0
        assert completion(live, "a", cache_salt="s") >= LONG
        assert (completion(live, "b", cache_salt="s") >= LONG) is bool(flags)


@pytest.mark.parametrize(
    "fields",
    [
        {"id_slot": 2},
        {"n_cache_reuse": 16},
        {"id_slot": 2, "n_cache_reuse": 16, "prompt": "x" + PROMPT},
        {"n": 3},
        {"grammar": "root ::= [a-z]+"},
        {"echo": True},
    ],
)
def test_no_field_reaches_another_keys_slot(serve: Serve, fields: dict[str, Any]) -> None:
    with serve("--cache-reuse", "16") as live:
        assert completion(live, "a", id_slot=2) == 0
        body = {"prompt": PROMPT, "n_predict": 2, **fields}
        answer = live.client.post("/completion", json=body, headers={"X-Api-Key": "b"}).json()
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["index"] > 0 or one["timings"]["cache_n"] == 0


@pytest.mark.parametrize("asker", ["b", "r", "k1"])
def test_host_memory_keeps_prefixes_apart(serve: Serve, asker: str) -> None:
    with serve(n_slots=1, cache_bytes=10_000) as live:
        assert completion(live, "a") == 0
        assert completion(live, asker) == 0  # the first prefix goes to host memory
        assert completion(live, asker, prompt="y" * 200) <= 1  # the token of the beginning
        assert completion(live, "a") >= LONG
        assert completion(live, asker) >= LONG


def test_nobody_waits_for_a_prefix_that_another_key_computes(serve: Serve) -> None:
    with serve() as live, ThreadPoolExecutor(2) as threads:
        live.pair.gate.allow(1)
        first = threads.submit(completion, live, "a")
        second = threads.submit(completion, live, "b")
        live.pair.gate.allow(None)
        assert (first.result(), second.result()) == (0, 0)
        assert live.pair.lives[-1].backend.num_computed >= 2 * LONG


@pytest.mark.parametrize("thief", ["b", "k1", "k2"])
def test_a_slot_file_gives_nobody_anothers_prefix(serve: Serve, thief: str) -> None:
    """Keys without a name are admins too, as in llama-server."""
    with serve() as live:
        assert completion(live, "a", id_slot=0) == 0
        assert act(live, thief, "save", 0, format="llama.cpp").status_code == 400
        assert act(live, thief, "save", 0).status_code == 200
        assert act(live, thief, "erase", 0).status_code == 200
        assert act(live, thief, "restore", 1).json()["n_restored"] > LONG
        assert completion(live, thief, id_slot=1) == 0
        assert act(live, thief, "restore", 1).status_code == 200
        assert completion(live, "a") >= LONG


@pytest.mark.parametrize("format_", ["llamapack", "llama.cpp"])
@pytest.mark.parametrize("key", ["a", "k1"])
def test_ones_own_slot_goes_to_a_file_and_back(serve: Serve, key: str, format_: str) -> None:
    with serve() as live:
        assert completion(live, key, id_slot=0) == 0
        assert act(live, key, "save", 0, format=format_).status_code == 200
        assert act(live, key, "erase", 0).status_code == 200
    with serve() as live:
        assert act(live, key, "restore", 1).status_code == 200
        assert completion(live, "b") == 0
        assert completion(live, key) >= LONG
