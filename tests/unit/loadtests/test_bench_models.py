"""A model of a few thousand weights, written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from loadtests.agreement import draft_model, tokenize
from loadtests.bench_models import (
    MODELS,
    Shape,
    ensure_model,
    main,
    quantize,
    tensors,
    unspeakable_tokens,
    write_f16,
)
from loadtests.bench_vocab import Entry, read_tokenizer
from loadtests.inflated import TARGET, ensure_inflated

TEXTS = ["<s>", "a", "b", "Ġc", "Ã", "Ã©"]
TOKENIZER = [
    Entry("tokenizer.ggml.model", "gpt2", "STRING", None),
    Entry("tokenizer.ggml.tokens", TEXTS, "ARRAY", "STRING"),
    Entry("tokenizer.ggml.token_type", [3, 1, 1, 1, 1, 1], "ARRAY", "INT32"),
    Entry("tokenizer.ggml.bos_token_id", 0, "UINT32", None),
]
SHAPE = Shape("tiny", "llama", "none", 2, 64, 128, 4, 2, 512, 1e4)


def test_control_tokens_and_parts_of_characters_are_unspeakable() -> None:
    assert unspeakable_tokens(TOKENIZER) == [0, 4]


def test_a_sentencepiece_vocabulary_has_byte_tokens_of_their_own() -> None:
    tokenizer = [
        Entry("tokenizer.ggml.model", "llama", "STRING", None),
        Entry("tokenizer.ggml.tokens", ["<unk>", "<0x41>", "Ã"], "ARRAY", "STRING"),
        Entry("tokenizer.ggml.token_type", [2, 6, 1], "ARRAY", "INT32"),
    ]
    assert unspeakable_tokens(tokenizer) == [0, 1]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    write_f16(SHAPE, TOKENIZER, path)
    return path


def test_weights_come_back_as_they_were_planned(model: Path) -> None:
    found = {tensor.name: tensor for tensor in GGUFReader(model).tensors}
    planned = tensors(SHAPE, len(TEXTS))
    assert set(found) == {tensor.name for tensor in planned}
    embeddings = np.asarray(found["token_embd.weight"].data, dtype=np.float32)
    assert embeddings.shape == (6, 64)
    assert not embeddings[[0, 4]].any()
    assert embeddings[[1, 2, 3, 5]].std() == pytest.approx(64**-0.5, rel=0.2)
    assert (np.asarray(found["output_norm.weight"].data) == 1).all()
    assert np.asarray(found["blk.0.attn_k.weight"].data).shape == (32, 64)


def test_the_tokenizer_is_kept_and_a_template_added(model: Path) -> None:
    entries = {entry.key: entry for entry in read_tokenizer(model)}
    assert entries["tokenizer.ggml.tokens"].value == TEXTS
    assert entries["tokenizer.ggml.token_type"].element_kind == "INT32"
    assert "add_generation_prompt" in entries["tokenizer.chat_template"].value


def test_the_same_weights_every_time(model: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.gguf"
    write_f16(SHAPE, TOKENIZER, again)
    assert model.read_bytes() == again.read_bytes()


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no model 'bench-9t-q8_0'"):
        ensure_model("bench-9t-q8_0")
    assert main(["nonsense"]) == 2
    assert "error: no model 'nonsense'" in capsys.readouterr().err


def test_a_cached_model_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / f"{MODELS[0]}-r1.gguf"
    path.write_bytes(b"model")
    assert ensure_model(MODELS[0], tmp_path) == path


def test_the_inflated_demo_model_answers_as_the_demo_model_does(tmp_path: Path) -> None:
    def answer(model: Path) -> list[int]:
        [prompt] = tokenize(TARGET, ["<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n"])
        with draft_model(model, threads=1) as loaded:
            tokens = list(prompt)
            for _ in range(8):
                tokens.append(int(loaded.next_token(tokens)))
        return tokens[len(prompt) :]

    inflated = ensure_inflated("f16", tmp_path, quantize, parameters=30_000_000)
    assert inflated.stat().st_size > 50_000_000
    assert answer(inflated) == answer(TARGET)
    assert ensure_inflated("f16", tmp_path, quantize, parameters=30_000_000) == inflated
    assert [path.name for path in tmp_path.iterdir()] == [inflated.name]
