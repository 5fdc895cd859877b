"""Training and distilling start from the shipped GGUFs; needs the training's environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import DEMO_DRAFT, ROOT

pytest.importorskip("torch", reason="training's own environment has torch")

TOKENIZER = ROOT / "models" / "train" / "tokenizer.json"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Rows of one sentence, with loss on every token."""
    tokenizers = pytest.importorskip("tokenizers")
    ids = tokenizers.Tokenizer.from_file(str(TOKENIZER)).encode("Ana lives in Lisbon. ").ids
    for name, length in (("short", 512), ("long", 4096)):
        folder = tmp_path / "corpus" / name
        folder.mkdir(parents=True)
        np.resize(np.array(ids, np.uint16), (4, length)).tofile(folder / "tokens.bin")
        np.ones((4, length), np.uint8).tofile(folder / "trained.bin")
    return tmp_path / "corpus"


@pytest.mark.parametrize("name", ["train", "distill"])
def test_a_gguf_is_trained_further(
    name: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = pytest.importorskip("models.train.checkpoint").load
    output = tmp_path / "trained.pt"
    options = {
        "--resume": DEMO_DRAFT,
        "--corpus": corpus,
        "--tokenizer": TOKENIZER,
        "--output": output,
        "--minutes": 0.05,
        "--rows": 1,
        "--report": 1,
    } | ({"--target": DEMO_DRAFT} if name == "distill" else {})
    argv = [name, *(str(part) for option in options.items() for part in option)]
    monkeypatch.setattr("sys.argv", argv)
    pytest.importorskip(f"models.train.{name}").main()
    before, after = load(DEMO_DRAFT)[0], load(output)[0]
    assert after.config == before.config
    moved = (after.embed.weight - before.embed.weight).abs().max().item()
    assert 0 < moved < 0.1
