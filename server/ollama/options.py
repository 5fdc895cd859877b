"""The field `options`: Ollama's parameters of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from config import ServeSettings
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest
from server.requests.field_types import (
    INT32_MAX,
    Count,
    LookBack,
    Penalty,
    Probability,
    Real,
    StopStrings,
    Whole,
)

FILL_CONTEXT = -2
"""The `num_predict` that ends an answer where the context ends, whatever the server does then."""

_LOADING = {
    "num_gpu": ((-1,), "--gpu-layers"),
    "main_gpu": ((0,), "--main-gpu"),
    "num_thread": ((0,), "--threads"),
    "num_batch": ((), "--batch-size"),
    "use_mmap": ((), "--mmap or --no-mmap"),
    "use_mlock": ((), "--mlock"),
    "numa": ((False,), "--numa"),
    "f16_kv": ((True,), "--cache-type-k"),
    "low_vram": ((False,), "--no-kv-offload"),
    "num_gqa": ((), "--override-kv"),
}
"""Parameters of loading: the values that ask for nothing, and the flag that does it here."""

_GONE: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "tfs_z": ((1, 0), "llama.cpp has no tail-free sampling any more"),
    "penalize_newline": ((True,), "penalties count line breaks like other tokens"),
    "logits_all": ((False,), "ask for 'logprobs'"),
    "vocab_only": ((False,), "a model is loaded whole"),
    "embedding_only": ((False,), "start the server with --embeddings"),
}


class Options(RequestModel):
    """How a model answers. Parameters that other names stand for are ignored, as in Ollama."""

    num_ctx: Annotated[Whole, Field(ge=0, le=INT32_MAX)] = 0
    """Most tokens of prompt and answer together. A slot's context is the most that there is; 0 is
    the slot's."""
    num_predict: Annotated[Whole, Field(ge=FILL_CONTEXT, le=INT32_MAX)] | None = None
    """-1 is no limit. -2 ends the answer where the context ends."""
    num_keep: Annotated[Whole, Field(ge=-1, le=INT32_MAX)] | None = None
    """Tokens that a context shift keeps. Without `--context-shift` all tokens stay."""
    draft_num_predict: Count | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    top_k: Annotated[Whole, Field(ge=-INT32_MAX, le=INT32_MAX)] | None = None
    top_p: Probability | None = None
    min_p: Probability | None = None
    typical_p: Probability | None = None
    repeat_last_n: LookBack | None = None
    repeat_penalty: Annotated[Real, Field(gt=0, le=100)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    mirostat: Annotated[Whole, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    mirostat_eta: Annotated[Real, Field(ge=0, le=1e6)] | None = None
    stop: StopStrings = Field(default_factory=list)

    num_gpu: Any = None
    main_gpu: Any = None
    num_thread: Any = None
    num_batch: Any = None
    use_mmap: Any = None
    use_mlock: Any = None
    numa: Any = None
    f16_kv: Any = None
    low_vram: Any = None
    num_gqa: Any = None
    tfs_z: Any = None
    penalize_newline: Any = None
    logits_all: Any = None
    vocab_only: Any = None
    embedding_only: Any = None

    def check(self, settings: ServeSettings, param: str = "options") -> None:
        """Raise `InvalidRequest` for a parameter that this server can't honour.

        `param` is the field that the options stand in.
        """
        for name, (harmless, flag) in _LOADING.items():
            if self._asks(name, (*harmless, *_in_force(name, settings))):
                raise InvalidRequest(
                    f"'{param}.{name}' is decided when the model is loaded: "
                    f"start the server with {flag}",
                    param=f"{param}.{name}",
                )
        for name, (harmless, reason) in _GONE.items():
            if self._asks(name, harmless):
                raise InvalidRequest(
                    f"'{param}.{name}' is not supported: {reason}", param=f"{param}.{name}"
                )

    def over(self, defaults: Options) -> Options:
        """These options, and the `defaults` for what they leave out."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return defaults.model_copy(update=given)

    def sampling(self, settings: ServeSettings) -> dict[str, Any]:
        """The fields of a completion that say the same."""
        fields = {name: getattr(self, name) for name in _SAME_NAME}
        fields["spec_n_max"] = self.draft_num_predict
        if self.num_predict is not None:
            fields["n_predict"] = max(self.num_predict, -1)
        if settings.context_shift:
            fields["n_keep"] = self.num_keep
        return {name: value for name, value in fields.items() if value is not None}

    def _asks(self, name: str, harmless: tuple[Any, ...]) -> bool:
        value = getattr(self, name)
        return value is not None and value not in harmless


_SAME_NAME = (
    *("seed", "temperature", "top_k", "top_p", "min_p", "typical_p", "stop"),
    *("repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty"),
    *("mirostat", "mirostat_tau", "mirostat_eta"),
)

RENAMED = {
    "n_predict": "num_predict",
    "n_keep": "num_keep",
    "spec_n_max": "draft_num_predict",
}
"""The names of options whose field of a completion is called differently."""


def option_of(field: str) -> str | None:
    """The option that a field of a completion comes from, if any."""
    name = RENAMED.get(field, field)
    return name if name in Options.model_fields else None


def _in_force(name: str, settings: ServeSettings) -> tuple[Any, ...]:
    """The values that the server was started with."""
    mode = settings.load_mode
    match name:
        case "num_batch":
            return (settings.batch_size,)
        case "num_thread":
            return (settings.threads,)
        case "use_mmap":
            return (mode in ("auto", "mmap", "mmap+mlock"),)
        case "use_mlock":
            return ("mlock" in mode,)
        case _:
            return ()
