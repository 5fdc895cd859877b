"""LoRA adapters on a real context: compared with merged weights, and mixed in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.commands import LoraSet
from protocol.sampling import SamplingParams
from scheduler.backends.base import DecodeError, LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.candidates import Logits
from scheduler.core.cache_edits import Trim
from scheduler.core.sequence import Sequence
from scheduler.core.step import Chunk
from tests.support.backends import make_backend, softmax, text_tokens
from tests.support.engines import Server
from tests.support.lora_files import random_pairs, write_adapter, write_unquantized
from tests.support.requests import add_request

FIRST, SECOND = random_pairs(1), random_pairs(2)
TOKENS = text_tokens(40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lora")


@pytest.fixture(scope="module")
def adapters(folder: Path) -> tuple[str, ...]:
    first = write_adapter(folder / "first.gguf", FIRST)
    second = write_adapter(folder / "second.gguf", SECOND)
    return str(first), str(second)


@pytest.fixture(scope="module")
def backend(adapters: tuple[str, ...]) -> Iterator[LlamaBackend]:
    backend = make_backend(adapter_paths=adapters)
    yield backend
    backend.close()


def lora_set(backend: LlamaBackend, *scales: float) -> LoraSet:
    """The adapters at these scales, in their order."""
    infos = zip(backend.info.adapters, scales, strict=False)
    return tuple(sorted((info.digest, scale) for info, scale in infos if scale))


def chunk(lora: LoraSet, slot: int = 0) -> Chunk:
    submit = add_request(request_id=1, prompt=TOKENS, sampling=SamplingParams(), lora=lora)
    return Chunk(Sequence.of(submit), slot, 0, len(TOKENS), wants_logits=True)


def logits(backend: LlamaBackend, *scales: float) -> Logits:
    """The logits after `TOKENS`, computed from the first token on."""
    backend.edit(Trim(0, 0))
    backend.decode([chunk(lora_set(backend, *scales))])
    return backend.context.row(0).copy()


def test_an_adapter_at_scale_0_changes_nothing(backend: LlamaBackend) -> None:
    plain = make_backend()
    assert np.array_equal(logits(backend, 0.0, 0.0), logits(plain))
    plain.close()


def test_another_scale_gives_other_logits(backend: LlamaBackend) -> None:
    rows = [softmax(logits(backend, *scales)) for scales in ((0, 0), (1, 0), (0.5, 0), (0, 1))]
    for index, row in enumerate(rows):
        assert all(np.abs(row - other).sum() > 0.1 for other in rows[:index])


@pytest.mark.parametrize("scales", [(1.0, 0.0), (-0.5, 0.0), (0.7, 0.3)])
def test_an_adapter_is_what_its_merged_weights_are(
    folder: Path, adapters: tuple[str, ...], scales: tuple[float, float]
) -> None:
    plain = make_backend(
        model_path=str(write_unquantized(folder / "plain.gguf")), adapter_paths=adapters
    )
    weights = list(zip((FIRST, SECOND), scales, strict=True))
    merged = make_backend(model_path=str(write_unquantized(folder / "merged.gguf", weights)))
    expected = logits(merged)
    assert np.abs(logits(plain, *scales) - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.abs(logits(plain, 0.0, 0.0) - expected).max() > 0.1 * np.abs(expected).max()
    plain.close()
    merged.close()


def test_requests_with_different_adapters_at_once_are_answered_as_alone(
    backend: LlamaBackend,
) -> None:
    server = Server(backend, cache_bytes=1 << 30)
    sets = [lora_set(backend, *scales) for scales in ((0, 0), (1, 0), (0, 1), (1, 1))]
    alone = [server.answer(TOKENS, 24, lora=lora, cache_prompt=False).tokens for lora in sets]
    assert len({tuple(tokens) for tokens in alone}) == 4
    together = server.answers_of([{"prompt": TOKENS, "lora": lora} for lora in sets], 24)
    assert [answer.tokens for answer in together] == alone


def test_what_the_cache_has_of_one_set_serves_no_other(backend: LlamaBackend) -> None:
    server = Server(backend, cache_bytes=1 << 30)
    first, second = lora_set(backend, 1), lora_set(backend, 0, 1)
    server.answer(TOKENS, 8, lora=first)
    assert server.answer(TOKENS, 8, lora=second).num_cached == 0
    assert server.answer(TOKENS, 8).num_cached == 0
    assert server.answer(TOKENS, 8, lora=first).num_cached == len(TOKENS) - 1


def test_a_batch_of_two_sets_is_refused_before_llama_cpp_sees_it(backend: LlamaBackend) -> None:
    first, second = lora_set(backend, 1), lora_set(backend, 0, 1)
    with pytest.raises(DecodeError, match="several kinds"):
        backend.decode([chunk(first, slot=0), chunk(second, slot=1)])
    with pytest.raises(DecodeError, match="not loaded"):
        backend.decode([chunk((("unknown", 1.0),))])


def test_a_file_is_known_by_its_content(folder: Path) -> None:
    texts = {"adapter.lora.task_name": "translate", "adapter.lora.prompt_prefix": "> "}
    named = write_adapter(folder / "named.gguf", FIRST, texts=texts)
    copy = folder / "copy.gguf"
    copy.write_bytes(named.read_bytes())
    other = write_adapter(folder / "other.gguf", SECOND, texts=texts)
    backend = make_backend(adapter_paths=(str(named), str(copy), str(other)))
    first, again, different = backend.info.adapters
    assert first.digest == again.digest != different.digest
    assert (first.path, first.task_name, first.prompt_prefix) == (str(named), "translate", "> ")
    backend.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"invocation": [300, 301]}, "aLoRA"),
        ({"arch": "gemma2"}, "can't load"),
    ],
)
def test_what_can_not_be_honoured_ends_the_start(
    folder: Path, fields: dict[str, object], words: str
) -> None:
    path = write_adapter(folder / "bad.gguf", FIRST, **fields)  # type: ignore[arg-type]
    with pytest.raises(LoadError, match=words):
        make_backend(adapter_paths=(str(path),))


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"no adapter at all" * 100])
def test_what_is_no_adapter_ends_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "adapter.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=r"adapter\.gguf"):
        make_backend(adapter_paths=(str(path),))
