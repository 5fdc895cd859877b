"""Loads a model and makes its context, from the engine's configuration."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import msgspec
from llama_cpp import llama_cpp as lib

from protocol.config import HUGE_PAGES, EngineConfig
from protocol.metadata import override_array
from scheduler.backends.base import LoadError
from scheduler.backends.cpus import usable_cores
from scheduler.backends.llama.devices import have_gpu
from scheduler.backends.llama.pooling import POOLINGS
from scheduler.backends.llama.tensors import NO_DEVICE, buffer_array, device_array, share_array

CACHE_TYPES = {
    "f32": lib.GGML_TYPE_F32,
    "f16": lib.GGML_TYPE_F16,
    "bf16": 30,  # the bindings have no name for it
    "q8_0": lib.GGML_TYPE_Q8_0,
    "q4_0": lib.GGML_TYPE_Q4_0,
    "q4_1": lib.GGML_TYPE_Q4_1,
    "iq4_nl": lib.GGML_TYPE_IQ4_NL,
    "q5_0": lib.GGML_TYPE_Q5_0,
    "q5_1": lib.GGML_TYPE_Q5_1,
}
UNQUANTIZED = ("f32", "f16", "bf16")
"""Types of cells that do without flash attention."""

MAX_SNAPSHOTS = 8
"""Most snapshots of a recurrent state that each slot keeps. Each is as large as the state, and
takes time in every step."""

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
LAZY_MODES = {"off": 0, "auto": 1, "on": 2}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
ROPE_FIELDS = (
    "rope_scaling",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_slow",
    "yarn_beta_fast",
)
ROPE_SCALINGS = {"": -1, "none": 0, "linear": 1, "yarn": 2}
ALL_LAYERS = -2
"""`n_gpu_layers` where all layers are asked for. -1 takes what there is."""

logger = logging.getLogger(__name__)


SCORED_ROWS = 32
"""Rows of a batch that may score tokens of prompts, where drafts don't have more."""

MAX_DRAFT_ROWS = 64
"""Rows of a batch that the drafts of all slots together may have."""

LONG_PART = 32_768
"""Tokens of a slot from which on few requests are too long: agents start with 20,000 to 30,000."""


def load_model(config: EngineConfig, *, sizes_only: bool = False) -> Any:
    """Load the weights. Raises `LoadError`.

    With `sizes_only` nothing is read or reserved: the model and its contexts can only tell how much
    memory they would take.
    """
    params = lib.llama_model_default_params()
    params.n_gpu_layers = config.n_gpu_layers
    params.main_gpu = config.main_gpu
    params.split_mode = SPLIT_MODES[config.split_mode]
    params.load_mode = _load_mode(config.load_mode)
    params.lazy_mode = LAZY_MODES[config.lazy_mode]
    params.use_extra_bufts = config.use_repack
    params.no_host = not config.host_buffers
    params.check_tensors = config.check_tensors
    if sizes_only:
        params.no_alloc, params.check_tensors = True, False
        params.load_mode = _load_mode("none")
    # The arrays must live until the model is loaded.
    devices, buffers = device_array(config.devices), buffer_array(config.tensor_buffers)
    metadata = override_array(config.metadata)
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    params.tensor_buft_overrides = ctypes.cast(buffers, ctypes.c_void_p)
    params.kv_overrides = metadata
    shares = share_array(config.tensor_split)
    if shares is not None:
        params.tensor_split = shares
    model = lib.llama_model_load_from_file(config.model_path.encode(), params)
    if not model:
        raise LoadError(f"llama.cpp can't load {config.model_path}")
    return model


def _load_mode(name: str) -> int:
    """llama.cpp's number of a load mode. Huge pages are the memory allocator's."""
    name = "none" if name == HUGE_PAGES else name
    mode: int = lib.llama_load_mode_from_str(name.encode())
    return mode


def num_outputs(config: EngineConfig) -> int:
    """Most rows of a batch that may have logits."""
    return config.n_slots + max(max_draft_rows(config), SCORED_ROWS)


def max_draft_rows(config: EngineConfig) -> int:
    """Rows of a batch that may be draft tokens.

    Each such row has logits, which take a megabyte for some vocabularies. So many slots share
    what one slot could use.
    """
    most = config.max_draft_tokens
    return min(config.n_slots * most, max(most, MAX_DRAFT_ROWS))


def output_rows(config: EngineConfig, n_outputs: int) -> int:
    """Rows of a batch that may have an output: a vector of every row, or `n_outputs` with logits.

    One too many ends the process.
    """
    return max(n_outputs, config.n_ubatch) if config.embeddings else n_outputs


def check_layout(model: Any, config: EngineConfig) -> None:
    """Raises `LoadError`, naming the flags, for a layout that llama.cpp can't make."""
    n_ctx = config.n_ctx or lib.llama_model_n_ctx_train(model)
    if config.n_slots > lib.llama_max_parallel_sequences():
        most = lib.llama_max_parallel_sequences()
        raise LoadError(f"--parallel must be at most {most}, got {config.n_slots}")
    if n_ctx < config.n_slots:
        raise LoadError(
            f"--ctx-size {n_ctx} is too small: each of {config.n_slots} slots needs a token"
        )
    if config.cache_type_v not in UNQUANTIZED and config.flash_attn == "off":
        raise LoadError(
            f"--cache-type-v {config.cache_type_v} needs flash attention, which --flash-attn "
            "turns off"
        )


def laid_out(model: Any, config: EngineConfig) -> EngineConfig:
    """The configuration, in which slots share a stream or not.

    Where that is left open, they share one if their parts would be short: a request that finds no
    room is worse than a step that reads the cells of other slots too.
    """
    if config.kv_unified is not None:
        return config
    n_train = lib.llama_model_n_ctx_train(model)
    n_ctx = config.n_ctx or n_train
    is_short = n_ctx // config.n_slots < min(LONG_PART, n_train)
    return msgspec.structs.replace(config, kv_unified=is_short and config.n_slots > 1)


def make_context(model: Any, config: EngineConfig, n_outputs: int, flash_attn: str) -> Any:
    """A context whose batches may have `n_outputs` rows with logits. Raises `LoadError`."""
    params = context_params(config, n_outputs, flash_attn)
    if _overwrites_windows(model, config):
        params.n_batch = params.n_ubatch = max(params.n_ubatch, config.n_slots)
    params.n_rs_seq = num_snapshots(config, params.n_ubatch)
    context = lib.llama_init_from_model(model, params)
    if not context:
        n_ctx = config.n_ctx or lib.llama_model_n_ctx_train(model)
        lib.llama_model_free(model)
        raise LoadError(f"llama.cpp can't make a context of {n_ctx} tokens")
    return context


def context_params(config: EngineConfig, n_outputs: int, flash_attn: str) -> Any:
    """llama.cpp's parameters of a context; `flash_attn` is one of `FLASH_ATTENTION`."""
    threads = config.n_threads or usable_cores(config.placement.cpus)
    params = lib.llama_context_default_params()
    params.n_ctx = config.n_ctx
    params.n_batch = max(config.n_batch, config.n_slots)
    params.n_ubatch = min(config.n_ubatch, params.n_batch)
    params.n_seq_max = config.n_slots
    params.n_outputs_max = n_outputs
    params.n_outputs_max_per_seq = min(1 + config.max_draft_tokens, n_outputs)
    params.pooling_type = POOLINGS[config.pooling if config.embeddings else ""]
    params.n_threads = threads
    params.n_threads_batch = config.n_threads_batch or threads
    params.flash_attn_type = FLASH_ATTENTION[flash_attn]
    params.type_k = CACHE_TYPES[config.cache_type_k]
    params.type_v = CACHE_TYPES[config.cache_type_v]
    params.kv_unified = config.kv_unified
    params.offload_kqv = config.kv_offload
    params.op_offload = config.op_offload
    params.swa_full = config.swa_full
    params.no_perf = not config.perf
    _set_rope(params, config)
    return params


def _overwrites_windows(model: Any, config: EngineConfig) -> bool:
    """Whether a batch of several micro-batches may be computed wrong.

    Where slots share a stream, llama.cpp gives each micro-batch cells that have left their window.
    It plans this for the whole batch beforehand, and then lacks cells of the first windows: what
    the plan drops beside the cells that it takes is not put back.
    """
    has_windows: bool = lib.llama_model_n_swa(model) > 0 and not config.swa_full
    return bool(config.kv_unified) and has_windows


def num_snapshots(config: EngineConfig, n_ubatch: int) -> int:
    """Draft tokens that a recurrent memory should be able to take back. llama.cpp ignores the
    number for other memories; it ends the process if a micro-batch has no room for a draft."""
    room = min(n_ubatch, config.n_ctx or n_ubatch) - 2
    return max(min(config.max_draft_tokens, MAX_SNAPSHOTS, room), 0)


def warn_without_gpu(config: EngineConfig) -> None:
    """Log that layers were meant for a GPU, if there is none. The backends must be loaded."""
    wants = config.n_gpu_layers > 0 or config.n_gpu_layers == ALL_LAYERS
    if wants and config.devices != (NO_DEVICE,) and not have_gpu():
        logger.warning(
            "--gpu-layers has no effect: llama.cpp was built without support for a GPU, or finds "
            "none; `llamapack serve --list-devices` shows what it finds"
        )


def offloads(config: EngineConfig) -> bool:
    """Whether a GPU computes, at least a part."""
    wants = config.n_gpu_layers != 0 and config.devices != (NO_DEVICE,)
    # llama_supports_gpu_offload would count a build with RPC, whether or not there is a server.
    return have_gpu() and wants


def _set_rope(params: Any, config: EngineConfig) -> None:
    params.rope_scaling_type = ROPE_SCALINGS[config.rope_scaling]
    params.rope_freq_base = config.rope_freq_base
    params.rope_freq_scale = config.rope_freq_scale
    params.yarn_orig_ctx = config.yarn_orig_ctx
    params.yarn_ext_factor = config.yarn_ext_factor
    params.yarn_attn_factor = config.yarn_attn_factor
    params.yarn_beta_slow = config.yarn_beta_slow
    params.yarn_beta_fast = config.yarn_beta_fast
