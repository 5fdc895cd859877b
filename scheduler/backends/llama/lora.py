"""The LoRA adapters of a loaded model."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as lib

from protocol.commands import LoraSet
from protocol.messages import AdapterInfo
from scheduler.backends.base import LoadError
from scheduler.storage.fingerprint import digest_of_file

_ALORA = "is an activated LoRA (aLoRA), which applies from its invocation tokens on: not supported"


class LoraAdapters:
    """Adapters by the digest of their file. They are freed with the model."""

    def __init__(self, model: Any, paths: Sequence[str]) -> None:
        """Load adapter files. Raises `LoadError` for a file that is no adapter of this model."""
        self._handles: dict[str, Any] = {}
        self._on_context: LoraSet = ()
        self.infos = tuple(self._load(model, path) for path in paths)

    def _load(self, model: Any, path: str) -> AdapterInfo:
        try:
            digest = digest_of_file(Path(path))
        except OSError as error:
            raise LoadError(f"can't read the adapter {path}: {error.strerror}") from error
        adapter = lib.llama_adapter_lora_init(model, path.encode())
        if not adapter:
            raise LoadError(f"llama.cpp can't load {path} as an adapter of this model")
        if lib.llama_adapter_get_alora_n_invocation_tokens(adapter) > 0:
            raise LoadError(f"the adapter {path} {_ALORA}")
        self._handles.setdefault(digest, adapter)
        return AdapterInfo(
            path=path,
            digest=digest,
            task_name=_metadata(adapter, "adapter.lora.task_name"),
            prompt_prefix=_metadata(adapter, "adapter.lora.prompt_prefix"),
        )

    def have(self, lora: LoraSet) -> bool:
        """Whether all adapters of a set are loaded."""
        return all(digest in self._handles for digest, _ in lora)

    def put_on(self, context: Any, lora: LoraSet) -> None:
        """Let the context compute with exactly these adapters, which must be loaded.

        A change makes llama.cpp plan its memory again. So sequences with the same set should be
        computed together.
        """
        if lora == self._on_context:
            return
        count = len(lora)
        handles = (lib.llama_adapter_lora_p_ctypes * count)(*(self._handles[d] for d, _ in lora))
        scales = (ctypes.c_float * count)(*(scale for _, scale in lora))
        lib.llama_set_adapters_lora(context, handles, count, scales)
        self._on_context = lora


def _metadata(adapter: Any, key: str) -> str:
    """A text of the adapter's file, or "" without it."""
    name = key.encode()
    size = lib.llama_adapter_meta_val_str(adapter, name, None, 0)
    if size <= 0:
        return ""
    buffer = ctypes.create_string_buffer(size + 1)
    lib.llama_adapter_meta_val_str(adapter, name, buffer, len(buffer))
    return buffer.value.decode(errors="replace")
