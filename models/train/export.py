"""Writes a checkpoint as GGUF: `python -m models.train.export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize
from numpy.typing import NDArray

from models.train.checkpoint import load
from models.train.gguf_weights import gguf_name
from models.train.model import Llama, ModelConfig
from models.train.vocabulary import (
    CONTROL_TOKENS,
    END_OF_TEXT,
    PRE_TOKENIZER,
    TAG_TOKENS,
    TURN_END,
)

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
FILE_TYPES = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}


def add_header(
    writer: GGUFWriter, config: ModelConfig, name: str, file_type: LlamaFileType
) -> None:
    """Write the model's description and dimensions."""
    writer.add_name(name)
    writer.add_author("llamapack")
    writer.add_license("apache-2.0")
    writer.add_description("Demo model of llamapack, trained from scratch on its own corpus")
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.embedding)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)


def add_tokenizer(writer: GGUFWriter, path: Path) -> None:
    """Write tokens, merges, special tokens and the chat template."""
    saved: dict[str, Any] = json.loads(path.read_text())["model"]
    ids: dict[str, int] = saved["vocab"]
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = dict.fromkeys(CONTROL_TOKENS, TokenType.CONTROL)
    kinds |= dict.fromkeys(TAG_TOKENS, TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in saved["merges"]])
    writer.add_bos_token_id(ids[END_OF_TEXT])
    writer.add_eos_token_id(ids[TURN_END])
    writer.add_eot_token_id(ids[TURN_END])
    writer.add_pad_token_id(ids[END_OF_TEXT])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE.read_text().strip())


def add_weights(writer: GGUFWriter, model: Llama, kind: GGMLQuantizationType) -> None:
    """Write all parameters; vectors stay F32."""
    for name, weight in model.named_parameters():
        values: NDArray[np.float32] = weight.detach().float().numpy()
        if values.ndim == 1 or kind is GGMLQuantizationType.F32:
            writer.add_tensor(gguf_name(name), values)
        else:
            writer.add_tensor(gguf_name(name), quantize(values, kind), raw_dtype=kind)


def export(model: Llama, tokenizer: Path, output: Path, name: str, kind: str) -> None:
    """Write the GGUF."""
    quantization, file_type = FILE_TYPES[kind]
    output.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(output, "llama")
    add_header(writer, model.config, name, file_type)
    add_tokenizer(writer, tokenizer)
    add_weights(writer, model, quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Export one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--name", default="llamapack demo")
    parser.add_argument("--type", choices=FILE_TYPES, default="Q8_0")
    args = parser.parse_args()
    model, step = load(args.checkpoint)
    export(model, args.tokenizer, args.output, args.name, args.type)
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: step {step}, {model.parameter_count()} parameters, {size:.2f} MB")


if __name__ == "__main__":
    main()
