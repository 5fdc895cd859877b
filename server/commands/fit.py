"""`llamapack fit MODEL`: what fits this machine's memory, or another's."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from config import ServeSettings, load_settings
from config.speculation import DRAFT_MODEL
from server.commands.fit_report import as_json, as_text
from server.engine.config import engine_config
from server.fit.advice import Advice, Bandwidths, advise
from server.fit.bandwidth import host_bandwidth
from server.fit.budget import Budget, free_host_bytes, this_machine
from server.fit.candidates import Candidate, candidates
from server.fit.choice import LayoutRange
from server.fit.estimate import Estimator
from server.fit.layout_range import layout_range
from server.fit.needs import Needs
from server.store.resolve import DEMO_MODEL

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_UNITS = {"": 1 << 20, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
GB = 1e9


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print what fits. Returns the exit code: 1 if nothing does.

    Raises `StartupError` and `ConfigError`.
    """
    asked, options = _parser().parse_known_args(argv)
    settings = load_settings(options, environ)
    with (
        Estimator() as estimator,
        candidates(asked.model, environ, settings.hf_token) as found,
    ):
        budget, source = _budget(asked, estimator)
        speed = asked.bandwidth * GB or host_bandwidth(_threads(settings))
        speeds = Bandwidths(speed, asked.device_bandwidth * GB)
        advices = _advices(found, estimator, settings, budget, speeds)
    if asked.json:
        print(json.dumps(as_json(advices, budget, speed), indent=2))
    else:
        print(as_text(advices, budget, source))
    return 0 if any(advice.best.fits for advice in advices) else 1


def _advices(
    found: Sequence[Candidate],
    estimator: Estimator,
    settings: ServeSettings,
    budget: Budget,
    speeds: Bandwidths,
) -> list[Advice]:
    """One for each candidate; those of one header share what llama.cpp tells."""
    known: dict[Path, tuple[Needs, LayoutRange]] = {}
    for one in found:
        if one.path not in known:
            options = engine_config(settings, one.path, "INFO", _draft(settings))
            known[one.path] = layout_range(
                estimator, one.path, options, settings, has_devices=bool(budget.devices)
            )
    return [advise(one, *known[one.path], budget, speeds) for one in found]


def _draft(settings: ServeSettings) -> Path | None:
    """The draft model's file, if there is one; none is downloaded for a question."""
    path = settings.spec_draft_model
    return path if DRAFT_MODEL in settings.spec_type and path and path.is_file() else None


def _budget(asked: argparse.Namespace, estimator: Estimator) -> tuple[Budget, str]:
    """The memory, and what is said of its origin."""
    if asked.memory is None and asked.device_memory is None:
        return this_machine(estimator.devices()), "Free here"
    host = free_host_bytes() if asked.memory is None else asked.memory
    devices = () if asked.device_memory is None else asked.device_memory
    return Budget(host, tuple(devices)), "Given"


def _threads(settings: ServeSettings) -> int:
    return settings.threads if settings.threads > 0 else _cores()


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parsed_size(text: str) -> int:
    """Bytes of a size such as 24G or 512M; a mere number is in MiB."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a size such as 24G or 8192 (MiB), got {text}")
    return round(float(found[1]) * _UNITS[found[2].lower()])


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(parsed_size(part) for part in text.split(","))


def _speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"must be a number of GB/s above 0, got {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llamapack fit",
        usage="llamapack fit [MODEL] [flags] [OPTIONS]",
        description="Say what fits a machine's memory. MODEL is a name of `llamapack list --all`, "
        "a GGUF file, a folder of them, or a repository of the Hugging Face hub "
        "(user/repo[:quant]), of which a header alone is read.",
        epilog="OPTIONS are those of `llamapack serve`. Those that take memory count: -c and -np "
        "say what is wanted, -ub, -fa, --lora, --kv-unified and others how it is laid out.",
        allow_abbrev=False,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", default=str(DEMO_MODEL))
    parser.add_argument("--memory", type=parsed_size, help="the host's, such as 16G [what is free]")
    parser.add_argument(
        "--device-memory", type=_sizes, metavar="SIZE,...", help="that of GPUs, such as 24G,24G"
    )
    parser.add_argument(
        "--bandwidth", type=_speed, default=0.0, metavar="GB/S", help="of the host [measured]"
    )
    parser.add_argument(
        "--device-bandwidth", type=_speed, default=0.0, metavar="GB/S", help="of the GPUs"
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    return parser
