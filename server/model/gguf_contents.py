"""What a model file's head tells people: values, the template, sizes by part and by type."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from server.model.gguf_header import Tensor, read_head

TEMPLATE = "tokenizer.chat_template"
TOOL_TEMPLATE = "tokenizer.chat_template.tool_use"

_LONGEST_VALUE = 1000
_LONGEST_TEMPLATE = 1 << 20
_MOST_VALUES = 2000

_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
"""The names of `general.file_type`."""

_TENSOR_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}

PARTS = ("embedding", "attention", "recurrent", "ffn", "experts", "output", "other")
"""The parts of a model, in the order of the way through it."""

_PARTS = (
    ("experts", re.compile(r"blk\.\d+\..*(_exps|_chexps|_exp\.\d+|ffn_gate_inp|exp_probs)")),
    ("attention", re.compile(r"blk\.\d+\.(attn|cross_attn|post_attention|indexer)")),
    ("recurrent", re.compile(r"blk\.\d+\.(ssm|time_mix|shortconv|channel_mix)")),
    ("ffn", re.compile(r"blk\.\d+\.(ffn|post_ffw|layer_output_norm|mlp)")),
    ("embedding", re.compile(r"(token_embd|token_types|position_embd|per_layer_token_embd)")),
    ("output", re.compile(r"(output|cls|dense_\d)")),
)


@dataclass(frozen=True, slots=True)
class GgufContents:
    """What a head tells people. Sizes are bytes; long texts are left out of `metadata`."""

    metadata: Mapping[str, object]
    template: str | None
    tool_template: str | None
    parameters: int
    parts: Mapping[str, int]
    types: Mapping[str, int]

    def text(self, key: str) -> str:
        """A metadata string, or an empty one."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    @property
    def architecture(self) -> str:
        """The architecture's name, such as `llama`."""
        return self.text("general.architecture")

    @property
    def file_type(self) -> str:
        """The quantization that the file names; empty if it names none that is known."""
        number = self.metadata.get("general.file_type")
        return _FILE_TYPES.get(number, "") if isinstance(number, int) else ""

    def number(self, name: str) -> int | None:
        """A whole number of the architecture's own values, such as `context_length`."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_contents(path: Path) -> GgufContents:
    """Read a file's head. Raises GgufError, and OSError if the file can't be opened."""
    header, tensors = read_head(path)
    return GgufContents(
        metadata=_short(header.metadata),
        template=_template(header.text(TEMPLATE)),
        tool_template=_template(header.text(TOOL_TEMPLATE)),
        parameters=sum(tensor.elements for tensor in tensors),
        parts=_summed((part_of(tensor.name), tensor) for tensor in tensors),
        types=_summed(
            (_TENSOR_TYPES.get(tensor.kind, f"type {tensor.kind}"), tensor) for tensor in tensors
        ),
    )


def part_of(tensor: str) -> str:
    """The part of a model that a tensor belongs to, by its name."""
    return next((part for part, names in _PARTS if names.match(tensor)), "other")


def _summed(named: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for name, tensor in named:
        sizes[name] += tensor.size
    return dict(sizes)


def _template(text: str) -> str | None:
    return text if text and len(text) <= _LONGEST_TEMPLATE else None


def _short(metadata: Mapping[str, object]) -> dict[str, object]:
    """The values that people read: no arrays, no long texts."""
    items = (
        (key, value)
        for key, value in metadata.items()
        if value is not None
        and len(key) <= _LONGEST_VALUE
        and not (isinstance(value, str) and len(value) > _LONGEST_VALUE)
    )
    return dict(itertools.islice(items, _MOST_VALUES))
