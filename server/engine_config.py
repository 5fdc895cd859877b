"""What the operator's settings mean for the engine."""

from __future__ import annotations

from pathlib import Path

from config import ServeSettings
from scheduler.protocol import EngineConfig
from server.machine_memory import usable_memory

MIB = 1 << 20


def engine_config(settings: ServeSettings, model_path: Path, log_level: str) -> EngineConfig:
    """The engine's configuration; `log_level` is a name of Python's logging."""
    return EngineConfig(
        model_path=str(model_path),
        n_slots=settings.parallel if settings.cont_batching else 1,
        n_ctx=settings.ctx_size,
        n_batch=settings.batch_size,
        n_ubatch=settings.ubatch_size,
        n_threads=max(settings.threads, 0),
        n_threads_batch=max(settings.threads_batch, 0),
        n_gpu_layers=settings.n_gpu_layers,
        main_gpu=settings.main_gpu,
        split_mode=settings.split_mode,
        tensor_split=settings.tensor_split,
        flash_attn=settings.flash_attn,
        cache_type_k=settings.cache_type_k,
        cache_type_v=settings.cache_type_v,
        kv_unified=settings.kv_unified,
        kv_offload=settings.kv_offload,
        swa_full=settings.swa_full,
        context_shift=settings.context_shift,
        cache_reuse=settings.cache_reuse > 0,
        load_mode=settings.load_mode,
        use_repack=settings.repack,
        cache_ram_bytes=_cache_bytes(settings.cache_ram, usable_memory()),
        cache_disk="" if settings.cache_disk is None else str(settings.cache_disk),
        cache_disk_bytes=settings.cache_disk_size * MIB,
        rope_scaling=settings.rope_scaling or "",
        rope_freq_base=settings.rope_freq_base,
        rope_freq_scale=settings.rope_freq_scale,
        yarn_orig_ctx=settings.yarn_orig_ctx,
        yarn_ext_factor=settings.yarn_ext_factor,
        yarn_attn_factor=settings.yarn_attn_factor,
        yarn_beta_slow=settings.yarn_beta_slow,
        yarn_beta_fast=settings.yarn_beta_fast,
        warmup=settings.warmup,
        itl_target_ms=settings.itl_target_ms,
        log_level=log_level,
        log_json=settings.log_json,
    )


def _cache_bytes(cache_ram: int, memory: int) -> int:
    """The setting in MiB as bytes, kept to a quarter of the memory unless it is without limit."""
    return memory if cache_ram < 0 else min(cache_ram * MIB, memory // 4)
