"""Gemma 3 270M, a real model with sliding windows: conversations share what they have in common.
Skipped unless LLAMAPACK_GEMMA3 names its GGUF."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scheduler.core.cache_edits import CopyPrefix, RestoreCheckpoint, SaveCheckpoint
from server.model.tokenizer import LlamaTokenizer
from tests.support.backends import compute, make_backend
from tests.support.paths import ROOT
from tests.support.processes import DEADLINE, Server, wait_until

PATH = Path(os.environ.get("LLAMAPACK_GEMMA3", "missing"))

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="LLAMAPACK_GEMMA3 names no file")

WINDOW = 512
WORDS = (ROOT / "ARCHITECTURE.md").read_text().split()


@contextmanager
def served(*flags: str) -> Iterator[httpx.Client]:
    """A server of two slots, which ends as by SIGTERM."""
    start = ("-m", str(PATH), "-c", "6144", "-np", "2", "--no-measure-costs", "--no-warmup")
    server = Server(*start, *flags)
    try:
        server.wait_ready()
        if "--cache-disk" in flags:
            wait_until(lambda: " prefixes, " in server.text)  # all that is there is read
        with httpx.Client(base_url=server.url, timeout=300) as client:
            yield client
        server.process.terminate()
        server.process.wait(DEADLINE)
    finally:
        server.end()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with served() as client:
        yield client


def ask(client: httpx.Client, *messages: str, **fields: Any) -> tuple[int, int]:
    """The numbers of cached and of computed tokens of a chat's prompt."""
    chat = [
        {"role": "assistant" if index % 2 else "user", "content": message}
        for index, message in enumerate(messages)
    ]
    body = {"messages": chat, "temperature": 0, "max_tokens": 4, **fields}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    timings = response.json()["timings"]
    return timings["cache_n"], timings["prompt_n"]


def words(count: int, start: int = 0) -> str:
    """Some of the words of a long text."""
    return " ".join(WORDS[start : start + count])


def test_a_second_conversation_reuses_what_it_shares(client: httpx.Client) -> None:
    text = words(900)
    cached, shared = ask(client, f"{text} What is it about?", id_slot=0)
    assert cached == 0
    for slot in (0, 1):  # other conversations take both slots
        ask(client, words(60, 1000 + 70 * slot), id_slot=slot)
    for slot, question in ((1, "Who wrote it?"), (0, "How long is it?")):
        cached, computed = ask(client, f"{text} {question}", id_slot=slot)
        assert cached >= 0.95 * shared
        assert cached + computed >= shared - 10


def test_two_conversations_at_once_compute_what_they_share_once(client: httpx.Client) -> None:
    texts = [f"{words(200)} {question}" for question in ("Who wrote it?", "How long is it?")]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda text: ask(client, text, cache_salt="two"), texts))
    total = max(cached + computed for cached, computed in found)
    assert sum(computed for _, computed in found) <= total + 40


def test_the_last_turn_is_asked_again(client: httpx.Client) -> None:
    _, first = ask(client, words(100), "I see.", "Why?", cache_salt="turn")
    for question in ("Why?", "How?", "Since when?"):
        cached, computed = ask(client, words(100), "I see.", question, cache_salt="turn")
        assert cached >= first - 20
        assert computed <= 20


def test_a_restarted_server_goes_on(tmp_path: Path) -> None:
    disk = ("--cache-disk", str(tmp_path))
    with served(*disk) as client:
        _, shared = ask(client, f"{words(200)} What is it about?")
        for slot in (0, 1):
            ask(client, words(60, 1000 + 70 * slot), id_slot=slot)
    with served(*disk) as client:
        cached, _ = ask(client, f"{words(200)} Who wrote it?")
        assert cached >= 0.9 * shared


def test_drafts_change_no_text(client: httpx.Client) -> None:
    """The text is longer than the window, and goes on as it did before."""
    body = {"prompt": f"{words(450)}\n\n{words(350)}", "temperature": 0, "n_predict": 120}
    expected = client.post("/completion", json=body).json()
    assert expected["tokens_evaluated"] > 2 * WINDOW
    for flags in (("--kv-unified",), ()):
        with served("--spec-type", "ngram-simple", *flags) as drafting:
            found = drafting.post("/completion", json=body).json()
        assert found["content"] == expected["content"]
        assert found["timings"]["draft_n_accepted"] > 60


@pytest.mark.parametrize(("cache_type", "kv_unified"), [("f16", False), ("q8_0", True)])
def test_logits_after_a_checkpoint_are_those_of_a_full_computation(
    cache_type: str, kv_unified: bool
) -> None:
    """Of cells in another order, sums differ, and with them what quantized weights are multiplied
    with. Logits then differ by some percent, whatever is computed again."""
    backend = make_backend(
        model_path=str(PATH),
        n_slots=2,
        n_ctx=2048,
        n_threads=2,
        cache_type_k=cache_type,
        cache_type_v=cache_type,
        kv_unified=kv_unified,
        flash_attn="on",
    )
    tokens = LlamaTokenizer(PATH).tokenize(words(700), add_special=True, parse_special=False)
    common, end = WINDOW + 50, WINDOW + 70
    compute(backend, tokens, 0, 0, common)
    backend.edit(SaveCheckpoint(0, 7))
    expected = compute(backend, tokens, 0, common, end)
    compute(backend, tokens, 0, end, end + 60)
    backend.edit(CopyPrefix(0, 1, end + 60))
    for slot in (1, 0):
        backend.edit(RestoreCheckpoint(7, slot, common))
        found = compute(backend, tokens, slot, common, end)
        angle = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert angle > 0.999
    backend.close()
