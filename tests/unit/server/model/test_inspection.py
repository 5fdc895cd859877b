"""Files that end the process which opens them: one clear line, and the next file is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from confined.child import Child
from server.model import files, inspection
from server.model.files import check_model
from server.model.gguf_header import GgufError
from server.model.inspection import Inspector
from server.model.tokenizer import LlamaTokenizer
from server.startup import ModelFileError, VocabularyError
from tests.support.paths import DEMO_TARGET


@pytest.fixture
def inspector() -> Iterator[Inspector]:
    inspector = Inspector()
    yield inspector
    inspector.close()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Inspector:
    """An inspector whose process behaves as the file's name says."""
    inspector = Inspector()
    monkeypatch.setattr(inspector, "_child", Child("tests.support.victim_of_files"))
    monkeypatch.setattr(inspection, "CPU_SECONDS", 0.5)
    return inspector


def test_a_sound_file(inspector: Inspector) -> None:
    header = inspector.header(DEMO_TARGET)
    assert header.text("general.architecture")
    assert header.tensor_count
    inspector.check_vocabulary(DEMO_TARGET)


def test_what_llama_refuses_in_order_is_left_to_it(inspector: Inspector, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(99))
    inspector.check_vocabulary(path)


WORDS = ["<unk>", "<s>", "</s>", "a", "b"]


def test_a_vocabulary_that_crashes_llama(inspector: Inspector, tmp_path: Path) -> None:
    path = _vocabulary(tmp_path, "gpt2", ["a", "a", "b"])  # two tokens of one text
    with pytest.raises(VocabularyError, match="loading it needs too much memory, or crashes llama"):
        inspector.check_vocabulary(path)


@pytest.mark.parametrize("words", [["a"], [*WORDS, "word"]])
def test_a_vocabulary_without_bytes_is_refused_in_order(
    inspector: Inspector, tmp_path: Path, words: list[str]
) -> None:
    path = _vocabulary(tmp_path, "llama", words)
    inspector.check_vocabulary(path)
    with pytest.raises(VocabularyError, match="has no token for byte 0x00"):
        LlamaTokenizer(path)


def _vocabulary(folder: Path, kind: str, words: list[str]) -> Path:
    path = folder / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_head_count(1)
    writer.add_feed_forward_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(words)
    if kind == "gpt2":
        writer.add_token_merges(["a b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("segfault", "crashes"),
        ("abort", "crashes"),
        ("exit", "crashes"),
        ("grow", "too much memory"),
        ("spin", r"more than 0\.5 s"),
        ("raise", "crashes"),
    ],
)
def test_a_file_that_ends_its_reader(
    broken: Inspector, name: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if name == "grow":
        monkeypatch.setattr(inspection, "CPU_SECONDS", 20.0)
    path = tmp_path / name
    path.touch()
    with pytest.raises(VocabularyError, match=reason) as caught:
        broken.check_vocabulary(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(GgufError):
        broken.header(path)
    monkeypatch.setattr(files, "inspector", broken)
    with pytest.raises(ModelFileError, match=f"{name} has a header that"):
        check_model(path)
    broken.check_vocabulary(Path("fine"))
    broken.close()


def test_a_sparse_file_of_a_terabyte(inspector: Inspector, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert inspector.header(path).text("general.architecture") == "llama"
