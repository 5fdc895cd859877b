"""Checks of settings that are valid alone and conflict with one another."""

import os
from collections.abc import Mapping
from pathlib import Path

from config.errors import ConfigError
from config.settings import ServeSettings
from config.sources import Given
from config.speculation import DRAFT_MODEL, NONE

_FILES = (
    "chat_template_file",
    "grammar_file",
    "json_schema_file",
    "api_key_file",
    "api_keys_toml",
    "ssl_key_file",
    "ssl_cert_file",
)
_UNQUANTIZED = ("f32", "f16", "bf16")


def check(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    """Raise ConfigError for the first conflict. `given` has the names that the user wrote."""
    _check_pairs(settings, given)
    _check_sizes(settings, given)
    _check_keys(settings, given)
    _check_cors(settings, given)
    _check_folders(settings, given)
    _check_infill(settings, given)
    _check_speculation(settings, given)
    _check_remote(settings, given)
    if settings.reranking and settings.pooling not in (None, "rank"):
        raise ConfigError(f"{given['reranking'].name} needs {given['pooling'].name} rank")
    for field in _FILES:
        path = getattr(settings, field)
        if path is not None:
            _check_readable(path, given[field].name)
    for field in ("lora", "control_vector"):
        for path in getattr(settings, field):
            _check_readable(path, given[field].name)
    for field in ("lora_scaled", "control_vector_scaled"):
        for path, _ in getattr(settings, field):
            _check_readable(path, given[field].name)


def _check_pairs(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    for field, needed in (
        ("hf_file", "hf_repo"),
        ("ssl_key_file", "ssl_cert_file"),
        ("ssl_cert_file", "ssl_key_file"),
        ("kv_events_replay_endpoint", "kv_events_endpoint"),
    ):
        if getattr(settings, field) is not None and getattr(settings, needed) is None:
            raise ConfigError(f"{given[field].name} needs --{needed.replace('_', '-')} as well")


def _check_keys(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    """An empty key would open the server to all, which nobody means by it."""
    if "api_key" in given and not settings.api_key:
        name = given["api_key"].name
        raise ConfigError(f"{name} holds no key; leave it out to serve without keys")


def _check_sizes(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    if 0 < settings.ctx_size < settings.parallel:
        raise ConfigError(
            f"{given['ctx_size'].name} must be at least the number of slots "
            f"({settings.parallel}), got {settings.ctx_size}"
        )
    _check_ubatch(settings, given)
    for field in ("cache_type_v", "spec_draft_type_v"):
        kind = getattr(settings, field)
        if kind not in _UNQUANTIZED and settings.flash_attn == "off":
            raise ConfigError(
                f"{given[field].name} {kind} needs flash attention, "
                f"which {given['flash_attn'].name} turns off"
            )


def _check_remote(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    """Tensor parallelism over RPC hangs in llama.cpp; without a device there is no use for it."""
    if not settings.rpc:
        return
    if settings.split_mode == "tensor":
        name = given["split_mode"].name
        raise ConfigError(f"{given['rpc'].name} can't be used with {name} tensor; take layer")
    if settings.device == ("none",):
        raise ConfigError(f"{given['rpc'].name} can't be used with {given['device'].name} none")


def _check_folders(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    if settings.cache_disk is not None and settings.cache_ram == 0:
        raise ConfigError(
            f"{given['cache_disk'].name} needs host memory, which {given['cache_ram'].name} 0 "
            "turns off"
        )
    for field in ("slot_save_path", "path"):
        folder = getattr(settings, field)
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{given[field].name}: there is no folder {folder}")


def _check_ubatch(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    """Refuse a micro-batch larger than the batch. Where the batch alone was given, or at a higher
    level, `load_settings` makes the micro-batch smaller instead."""
    small, large = given.get("ubatch_size"), given.get("batch_size")
    if small is None or (large is not None and large.level > small.level):
        return
    if settings.ubatch_size > settings.batch_size:
        raise ConfigError(
            f"{small.name} must be at most {large.name if large else '--batch-size'} "
            f"({settings.batch_size}), got {settings.ubatch_size}"
        )


def _check_cors(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    if settings.cors_credentials and "*" in settings.cors_origins:
        raise ConfigError(
            f"{given['cors_credentials'].name} needs origins by name, "
            f"but {given['cors_origins'].name} allows any"
        )


def _check_infill(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    """`infill` compares each pair of candidates: for a whole vocabulary this takes minutes."""
    if "infill" not in settings.samplers:
        return
    if "top_k" not in settings.samplers[: settings.samplers.index("infill")]:
        raise ConfigError(f"{given['samplers'].name} may have infill only after top_k")


def _check_speculation(settings: ServeSettings, given: Mapping[str, Given]) -> None:
    model = given.get("spec_draft_model") or given.get("spec_draft_hf")
    types = given.get("spec_type")
    asks_model = DRAFT_MODEL in settings.spec_type
    if types and asks_model and not model:
        raise ConfigError(
            f"{types.name} {DRAFT_MODEL} needs --spec-draft-model or --spec-draft-hf as well"
        )
    if types and model and not asks_model and settings.spec_type != (NONE,):
        raise ConfigError(f"{model.name} needs {DRAFT_MODEL} in {types.name} as well")
    for small, large in (
        ("spec_draft_n_min", "spec_draft_n_max"),
        ("spec_ngram_mod_n_min", "spec_ngram_mod_n_max"),
    ):
        least, most = getattr(settings, small), getattr(settings, large)
        if least > most:
            bound = f"--{large.replace('_', '-')} ({most})"
            raise ConfigError(f"{given[small].name} must be at most {bound}, got {least}")


def _check_readable(path: Path, name: str) -> None:
    if not path.is_file():
        raise ConfigError(f"{name}: {path} is not a file")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{name}: {path} can't be read: permission denied")
