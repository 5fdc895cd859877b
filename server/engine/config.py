"""Makes the engine's configuration from the operator's settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from config import ServeSettings
from config.units import MIB
from protocol.commands import DraftBounds, DraftMethod
from protocol.config import CheckpointConfig, DraftConfig, EngineConfig, NgramConfig
from server.engine.machine_memory import usable_memory
from server.engine.placement import draft_placements, placements
from server.engine.tensor_buffers import draft_tensor_buffers, tensor_buffers


def engine_config(
    settings: ServeSettings,
    model_path: Path,
    log_level: str,
    draft_path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    log_colors: bool = False,
) -> EngineConfig:
    """The engine's configuration; `log_level` is a name of Python's logging.

    XDG_CACHE_HOME of `environ` says where measured costs are kept.
    """
    placement, placement_batch = placements(settings)
    # A plain list: mypy checks each line, which it could not in a table of names.
    return EngineConfig(
        model_path=str(model_path),
        adapter_paths=_adapter_paths(settings),
        control_vectors=_control_vectors(settings),
        control_vector_layers=settings.control_vector_layer_range,
        embeddings=settings.embeddings or settings.reranking,
        pooling="rank" if settings.reranking else settings.pooling or "",
        n_slots=settings.parallel if settings.cont_batching else 1,
        n_ctx=settings.ctx_size,
        n_batch=settings.batch_size,
        n_ubatch=settings.ubatch_size,
        n_threads=max(settings.threads, 0),
        n_threads_batch=max(settings.threads_batch, 0),
        placement=placement,
        placement_batch=placement_batch,
        priority=settings.prio,
        poll=settings.poll,
        sampling_threads=settings.sampling_threads,
        backend_sampling=settings.backend_sampling,
        numa=settings.numa or "",
        metadata=settings.override_kv,
        check_tensors=settings.check_tensors,
        lazy_mode=settings.lazy_mode,
        remote=settings.rpc,
        devices=settings.device,
        tensor_buffers=tensor_buffers(settings),
        host_buffers=not settings.no_host,
        op_offload=settings.op_offload,
        n_gpu_layers=settings.n_gpu_layers,
        main_gpu=settings.main_gpu,
        split_mode=settings.split_mode,
        tensor_split=settings.tensor_split,
        flash_attn=settings.flash_attn,
        cache_type_k=settings.cache_type_k,
        cache_type_v=settings.cache_type_v,
        kv_unified=_is_unified(settings),
        # Files are saved of what slots hold.
        idle_slots_stay=settings.slot_save_path is not None,
        kv_offload=settings.kv_offload,
        swa_full=settings.swa_full,
        context_shift=settings.context_shift,
        cache_reuse=settings.cache_reuse > 0,
        load_mode=settings.load_mode,
        use_repack=settings.repack,
        cache_ram_bytes=host_cache_bytes(settings),
        checkpoints=CheckpointConfig(
            per_slot=settings.ctx_checkpoints, step=settings.checkpoint_min_step
        ),
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
        perf=settings.perf,
        event_block_size=settings.kv_events_block_size if settings.kv_events_endpoint else 0,
        itl_target_ms=settings.itl_target_ms,
        draft=None if draft_path is None else _draft(settings, draft_path),
        ngram=NgramConfig(
            simple_size=settings.spec_ngram_simple_size_n,
            simple_min_hits=settings.spec_ngram_simple_min_hits,
            shared_size=settings.spec_ngram_mod_n_match,
        ),
        max_draft_tokens=max((b.n_max for b in method_bounds(settings).values()), default=0),
        measure_costs=settings.measure_costs,
        cost_folder=_cost_folder(environ),
        log_level=log_level,
        log_json=settings.log_json,
        log_timestamps=settings.log_timestamps,
        log_prefix=settings.log_prefix,
        log_colors=log_colors,
        log_file="" if settings.log_file is None else str(settings.log_file.absolute()),
    )


def host_cache_bytes(settings: ServeSettings) -> int:
    """Bytes of host memory that prefixes may take which have left their slot."""
    return _cache_bytes(settings.cache_ram, usable_memory())


def _draft(settings: ServeSettings, path: Path) -> DraftConfig:
    threads = max(settings.spec_draft_threads, 0)
    placement, placement_batch = draft_placements(settings)
    return DraftConfig(
        model_path=str(path),
        n_threads=threads,
        n_threads_batch=max(settings.spec_draft_threads_batch, 0) or threads,
        placement=placement,
        placement_batch=placement_batch,
        devices=settings.spec_draft_device,
        tensor_buffers=draft_tensor_buffers(settings),
        n_gpu_layers=settings.spec_draft_ngl,
        cache_type_k=settings.spec_draft_type_k,
        cache_type_v=settings.spec_draft_type_v,
    )


def _cost_folder(environ: Mapping[str, str]) -> str:
    """A folder in the user's cache; "" for a user without a home, as in containers."""
    try:
        cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return ""
    return str(cache / "llamapack" / "costs")


def _adapter_paths(settings: ServeSettings) -> tuple[str, ...]:
    """Paths of the LoRA adapters, in the order in which clients number them."""
    return tuple(map(str, (*settings.lora, *(path for path, _ in settings.lora_scaled))))


def _control_vectors(settings: ServeSettings) -> tuple[tuple[str, float], ...]:
    plain = ((path, 1.0) for path in settings.control_vector)
    return tuple((str(path), scale) for path, scale in (*plain, *settings.control_vector_scaled))


def _cache_bytes(cache_ram: int, memory: int) -> int:
    """Bytes for a setting in MiB: at most a quarter of the memory, or all of it if negative."""
    return memory if cache_ram < 0 else min(cache_ram * MIB, memory // 4)


def method_bounds(settings: ServeSettings) -> dict[DraftMethod, DraftBounds]:
    """The bounds of each drafting method that is on, in the order of `--spec-type`."""
    known = {
        DraftMethod.NGRAM_SIMPLE: DraftBounds(settings.spec_ngram_simple_size_m),
        DraftMethod.NGRAM_MOD: DraftBounds(
            settings.spec_ngram_mod_n_max, settings.spec_ngram_mod_n_min
        ),
        DraftMethod.MODEL: DraftBounds(settings.spec_draft_n_max, settings.spec_draft_n_min),
    }
    return {DraftMethod(name): known[DraftMethod(name)] for name in settings.spec_type}


def _is_unified(settings: ServeSettings) -> bool | None:
    """Whether slots share one stream of cells; None lets the engine decide."""
    is_open = not {"kv_unified", "parallel"} & settings.model_fields_set
    return None if is_open else settings.kv_unified
