"""Values that replace those in a GGUF's metadata, and how llama.cpp is told them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as lib

MetadataValue = bool | int | float | str
MetadataOverride = tuple[str, MetadataValue]

_TAGS = {
    int: (lib.LLAMA_KV_OVERRIDE_TYPE_INT, "val_i64"),
    float: (lib.LLAMA_KV_OVERRIDE_TYPE_FLOAT, "val_f64"),
    bool: (lib.LLAMA_KV_OVERRIDE_TYPE_BOOL, "val_bool"),
    str: (lib.LLAMA_KV_OVERRIDE_TYPE_STR, "val_str"),
}


def override_array(overrides: Sequence[MetadataOverride]) -> Any:
    """The array for `llama_model_params.kv_overrides`; None without overrides. It must live until
    the model is loaded."""
    if not overrides:
        return None
    array = (lib.llama_model_kv_override * (len(overrides) + 1))()  # the last one stays empty
    for item, (key, value) in zip(array, overrides, strict=False):
        item.tag, field = _TAGS[type(value)]
        item.key = key.encode()
        setattr(item.value, field, value.encode() if isinstance(value, str) else value)
    return array
