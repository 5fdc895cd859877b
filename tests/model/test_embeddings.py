"""Embeddings on real contexts, compared with the bindings' own high-level interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from protocol.events import FinishReason
from scheduler.backends.base import LoadError
from scheduler.backends.llama.backend import LlamaBackend
from server.model.tokenizer import LlamaTokenizer
from tests.support.backends import TARGET, make_backend, text_tokens
from tests.support.engines import Server
from tests.support.lora_files import random_pairs, write_adapter
from tests.support.tiny_models import N_EMBD, encoder

TEXTS = ("a", "The capital of France is Paris.", "One, two, three, four and five. " * 5)
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3}

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def reference(path: Path, pooling: int) -> list[tuple[list[int], Vectors]]:
    """Tokens and vectors of the texts, computed by the bindings' high-level interface."""
    model = llama_cpp.Llama(
        str(path),
        embedding=True,
        pooling_type=pooling,
        n_ctx=512,
        n_threads=1,
        flash_attn=False,
        verbose=False,
    )
    found = []
    for text in TEXTS:
        vectors = np.array(model.embed(text, normalize=False), dtype=np.float32)
        found.append((model.tokenize(text.encode()), vectors.reshape(-1, vectors.shape[-1])))
    model.close()
    return found


def embed(server: Server, prompts: list[list[int]], **fields: Any) -> list[Vectors]:
    """The vectors of prompts that arrive at the same time."""
    info = server.engine.scheduler.limits.embedding
    assert info is not None
    answers = server.answers(prompts, 0, embedding=True, **fields)
    assert {answer.reason for answer in answers} == {FinishReason.EMBEDDED}
    return [np.frombuffer(a.embedding, np.float32).reshape(-1, info.size) for a in answers]


def assert_close(found: Vectors, expected: Vectors) -> None:
    """The direction is the same. The size may differ, because activations are rounded to 8 bits."""
    assert found.shape == expected.shape
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    assert ((found * expected).sum(axis=-1) > 0.999 * lengths).all()
    assert np.abs(found - expected).max() < 3e-2 * np.abs(expected).max()


@pytest.fixture(scope="module", params=[False, True], ids=["partitioned", "unified"])
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"kv_unified": request.param, "flash_attn": "off", "embeddings": True}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_decoder_embeds_as_the_bindings_say(layout: dict[str, Any], pooling: str) -> None:
    backend = make_backend(**layout, pooling=pooling)
    expected = reference(TARGET, POOLINGS[pooling])
    for vectors, (_, wanted) in zip(
        embed(Server(backend), [tokens for tokens, _ in expected]), expected, strict=True
    ):
        assert_close(vectors, wanted)
    backend.close()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_answers_and_embeddings_share_a_context(layout: dict[str, Any], pooling: str) -> None:
    backend = make_backend(**layout, pooling=pooling, n_slots=6, n_ctx=6 * 256)
    server = Server(backend)
    chats = [text_tokens(20 + 7 * index, start=index) for index in range(3)]
    texts = [text_tokens(10 + 23 * index, start=9 + index) for index in range(3)]
    plain = make_backend(flash_attn="off")
    alone = [Server(plain).answer(tokens, 12).tokens for tokens in chats]
    single = [embed(server, [tokens], cache_prompt=False)[0] for tokens in texts]
    requests = [{"prompt": tokens} for tokens in chats]
    requests += [{"prompt": tokens, "embedding": True} for tokens in texts]  # type: ignore[dict-item]
    answers = server.answers_of(requests, 12)
    assert [answer.tokens for answer in answers[:3]] == alone
    for answer, vectors in zip(answers[3:], single, strict=True):
        assert_close(np.frombuffer(answer.embedding, np.float32), vectors.ravel())
    plain.close()
    backend.close()


def test_a_long_text_is_embedded_by_its_last_token_in_chunks() -> None:
    fields: dict[str, Any] = {"embeddings": True, "pooling": "last", "flash_attn": "off"}
    tokens = text_tokens(200)
    small = make_backend(**fields, n_batch=64, n_ubatch=32)
    assert small.info.embedding is not None
    assert small.info.embedding.max_tokens == 256
    large = make_backend(**fields)
    server = Server(small)
    (chunked,) = embed(server, [tokens])
    assert_close(chunked, embed(Server(large), [tokens])[0])
    assert server.answers([tokens], 0, embedding=True)[0].num_cached == 199
    small.close()
    large.close()


def test_an_adapter_changes_the_vectors(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", random_pairs(1))
    backend = make_backend(embeddings=True, pooling="mean", adapter_paths=(str(adapter),))
    server, tokens = Server(backend), text_tokens(30)
    lora = ((backend.info.adapters[0].digest, 1.0),)
    plain, changed = embed(server, [tokens])[0], embed(server, [tokens], lora=lora)[0]
    assert np.abs(plain - changed).max() > 0.1 * np.abs(plain).max()
    backend.close()


@pytest.fixture(scope="module")
def encoder_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "encoder.gguf"
    encoder(path)
    return path


@pytest.fixture
def encoding(encoder_path: Path) -> Iterator[LlamaBackend]:
    backend = make_backend(model_path=str(encoder_path), embeddings=True, n_ubatch=128, warmup=True)
    yield backend
    backend.close()


def test_an_encoder_embeds_as_the_bindings_say(encoder_path: Path, encoding: LlamaBackend) -> None:
    expected = [(tokens[:128], vectors) for tokens, vectors in reference(encoder_path, 1)]
    assert all(len(tokens) < 128 for tokens, _ in expected[:2])
    server = Server(encoding)
    for vectors, (_, wanted) in zip(
        embed(server, [tokens for tokens, _ in expected[:2]]), expected[:2], strict=True
    ):
        assert_close(vectors, wanted)


def test_many_texts_of_an_encoder_at_once_come_out_as_alone(encoding: LlamaBackend) -> None:
    server = Server(encoding, cache_bytes=1 << 20)
    texts = [[1 + (3 * index + 7 * n) % 280 for n in range(5 + index)] for index in range(40)]
    alone = [embed(server, [tokens])[0] for tokens in texts]
    for vectors, wanted in zip(embed(server, texts), alone, strict=True):
        assert_close(vectors, wanted)


def test_an_encoder_knows_what_it_can(encoding: LlamaBackend) -> None:
    info = encoding.info.embedding
    assert info is not None
    assert (info.pooling, info.size, info.max_tokens) == ("mean", N_EMBD, 128)
    assert not encoding.info.can_generate
    answer = Server(encoding).answer([5, 6, 7], 4)
    assert (answer.reason, answer.message) == (
        FinishReason.FAILED,
        "the model computes embeddings only",
    )
    too_long = Server(encoding).answers([[5] * 129], 0, embedding=True)[0]
    assert too_long.reason is FinishReason.FAILED


def test_an_encoder_needs_the_flag(encoder_path: Path) -> None:
    with pytest.raises(LoadError, match="--embeddings"):
        make_backend(model_path=str(encoder_path))


def test_a_ranking_encoder_scores_pairs(tmp_path: Path) -> None:
    path = tmp_path / "ranks.gguf"
    encoder(path, ranks=True)
    tokenizer = LlamaTokenizer(path)
    query, document = ([5, 6, 7], [8, 9])
    assert tokenizer.join_pair(query, document) == [1, 5, 6, 7, 8, 9]  # no EOS is asked for
    backend = make_backend(model_path=str(path), embeddings=True, pooling="rank")
    server = Server(backend)
    pairs = [tokenizer.join_pair(query, [8 + index, 9]) for index in range(5)]
    scores = embed(server, pairs)
    assert all(score.shape == (1, 1) for score in scores)
    assert len({float(score[0, 0]) for score in scores}) == 5
    for pair, score in zip(pairs, scores, strict=True):
        assert_close(embed(server, [pair])[0], score)
    backend.close()
