"""A GGUF read back for training: nothing is lost, and the model is the same."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize

from models.train.gguf_weights import gguf_name, read_gguf, read_header
from models.train.greedy import GreedyModel
from tests.support.paths import ROOT

DEMO = ROOT / "models" / "demo"
TARGET = DEMO / "demo-target.gguf"
NO_TORCH = "training's own environment has torch"


def test_header_is_the_models_configuration() -> None:
    config, _ = read_gguf(TARGET)
    assert config.pop("norm_epsilon") == pytest.approx(1e-5)
    assert config == {
        "vocab": 2048,
        "embedding": 256,
        "layers": 6,
        "heads": 4,
        "kv_heads": 2,
        "feed_forward": 768,
        "context": 4096,
        "rope_base": 10_000.0,
    }


@pytest.mark.parametrize("name", ["demo-target.gguf", "demo-draft.gguf"])
def test_weights_quantize_to_the_bytes_they_came_from(name: str) -> None:
    _, weights = read_gguf(DEMO / name)
    for tensor in GGUFReader(DEMO / name).tensors:
        weight = weights[tensor.name]
        assert list(weight.shape) == list(reversed(tensor.shape.tolist()))
        if tensor.tensor_type is GGMLQuantizationType.Q8_0:
            again = quantize(weight, GGMLQuantizationType.Q8_0)
            np.testing.assert_array_equal(again, tensor.data)
        else:
            np.testing.assert_array_equal(weight, tensor.data)


def test_names_are_llama_cpps() -> None:
    assert gguf_name("embed.weight") == "token_embd.weight"
    assert gguf_name("output_norm") == "output_norm.weight"
    assert gguf_name("blocks.3.attn_norm") == "blk.3.attn_norm.weight"
    assert gguf_name("blocks.3.ffn_down.weight") == "blk.3.ffn_down.weight"


def test_a_header_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = GGUFWriter(path, "gpt2")
    writer.add_context_length(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match=r"its header lacks llama\.vocab_size"):
        read_header(GGUFReader(path))


def test_the_loaded_model_computes_what_llama_cpp_computes() -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    load = pytest.importorskip("models.train.checkpoint").load
    peer = GreedyModel(TARGET)
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    tokens = peer.tokenize(prompt)
    peer.next_token(tokens)
    theirs = np.ctypeslib.as_array(
        llama_cpp.llama_get_logits_ith(peer.llama.ctx, -1), (peer.vocabulary,)
    ).copy()
    peer.llama.close()
    model, step = load(TARGET)
    with torch.no_grad():
        ours = model.logits(model(torch.tensor([tokens])))[0, -1].numpy()
    assert step == 0
    # llama.cpp also quantizes the activations, to 8 bits.
    assert float(np.abs(ours - theirs).max()) < 0.02 * float(np.ptp(theirs))
    assert int(ours.argmax()) == int(theirs.argmax())


def test_export_and_load_are_inverse(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    load = pytest.importorskip("models.train.checkpoint").load
    export = pytest.importorskip("models.train.export").export
    tokenizer = DEMO.parent / "train" / "tokenizer.json"
    model, _ = load(DEMO / "demo-draft.gguf")
    export(model, tokenizer, tmp_path / "again.gguf", "again", "Q8_0")
    again, _ = load(tmp_path / "again.gguf")
    assert again.config == model.config
    for weight, twin in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(weight, twin)
