"""The file with what was measured of a model on this machine, for the next start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from protocol.config import EngineConfig
from scheduler.backends.cpus import usable_cores
from scheduler.storage.fingerprint import stamp_of_model

logger = logging.getLogger(__name__)

COUNTED_SETTINGS = (
    "n_slots",
    "n_ctx",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "n_threads_batch",
    "placement",
    "placement_batch",
    "numa",
    "remote",
    "devices",
    "tensor_buffers",
    "host_buffers",
    "op_offload",
    "n_gpu_layers",
    "split_mode",
    "tensor_split",
    "main_gpu",
    "flash_attn",
    "cache_type_k",
    "cache_type_v",
    "kv_unified",
    "kv_offload",
    "use_repack",
    "load_mode",
)
"""Fields of `EngineConfig` that a step's time depends on, besides the model."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a file holds; tables are empty and the choice is "" until they are known."""

    decode: Mapping[int, float] = field(default_factory=dict)
    prefill: Mapping[int, float] = field(default_factory=dict)
    """Seconds by rows, as `StepCost` takes them."""
    flash_attn: str = ""
    """Whether flash attention was found to be faster: "on" or "off"."""

    @property
    def has_costs(self) -> bool:
        """Whether the tables are there."""
        return bool(self.decode and self.prefill)


class CostFile:
    """The file of one model, build, machine and configuration."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, config: EngineConfig, model_path: str) -> CostFile | None:
        """None without a folder for such files."""
        if not config.cost_folder:
            return None
        library = version("llama-cpp-python")
        facts = [stamp_of_model(Path(model_path)), library, _cpu(), usable_cores()]
        settings = [getattr(config, name) for name in COUNTED_SETTINGS]
        identity = repr((model_path, facts, settings, config.draft))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:24]
        return cls(Path(config.cost_folder) / f"{digest}.json")

    def read(self) -> Measured:
        """What was kept; a file that can't be read holds nothing."""
        try:
            return _measured(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return Measured()
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            logger.warning("%s can't be read, so steps are timed again", self._path.name)
            return Measured()

    def keep_costs(self, decode: Mapping[int, float], prefill: Mapping[int, float]) -> bool:
        """Replace the tables; the choice stays. Returns whether the file could be written."""
        kept = self.read().flash_attn
        choice = {"flash_attn": kept} if kept else {}
        return self._write({"decode": decode, "prefill": prefill, **choice})

    def keep_choice(self, flash_attn: str) -> bool:
        """Replace the choice; tables, which were measured with another one, go."""
        return self._write({"flash_attn": flash_attn})

    def _write(self, content: dict[str, Any]) -> bool:
        """A folder that can't be written is no error."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps(content))
            partial.replace(self._path)
        except OSError as error:
            logger.info("step costs are not kept: %s", error.strerror)
            return False
        return True


def _measured(content: Any) -> Measured:
    """Raises `ValueError`, `KeyError`, `AttributeError` or `TypeError` for a damaged file."""
    choice = content.get("flash_attn", "")
    if choice not in ("", "on", "off"):
        raise ValueError(choice)
    if choice and len(content) == 1:
        return Measured(flash_attn=choice)
    decode, prefill = (
        {int(rows): float(seconds) for rows, seconds in content[name].items()}
        for name in ("decode", "prefill")
    )
    if not (decode and prefill and min(*decode.values(), *prefill.values(), 1.0) > 0):
        raise ValueError("a table is empty, or a step took no time")
    return Measured(decode, prefill, choice)


def _cpu() -> str:
    """The name of the processor, if the system tells the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith("model name")), platform.machine())
