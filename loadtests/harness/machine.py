"""Facts about the machine and the software, for the head of a report."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    llamapack: str
    llama_cpp_python: str
    peer: str
    load_average: float
    """Runnable processes, averaged over the last minute before the benchmark began."""

    def line(self) -> str:
        """All facts in one line."""
        return (
            f"{self.cores} cores of {self.cpu}, {self.memory_gib:.0f} GiB, {self.system}, "
            f"Python {self.python}, llamapack {self.llamapack}, "
            f"llama-cpp-python {self.llama_cpp_python}, peer {self.peer}, "
            f"load average at start {self.load_average:.2f}"
        )


def machine_facts(peer: Path | None) -> Machine:
    """The facts of now; without a peer its version is `none`."""
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        llamapack=_package("llamapack"),
        llama_cpp_python=_package("llama-cpp-python"),
        peer=_peer_version(peer) if peer else "none",
        load_average=os.getloadavg()[0],
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.machine()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _peer_version(peer: Path) -> str:
    """The output of `--version`, in one line."""
    try:
        done = subprocess.run(
            [str(peer), "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"version: .*", done.stdout + done.stderr)
    return found[0].strip() if found else "unknown"
