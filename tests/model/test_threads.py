"""Threads run on the CPUs that the operator names, with the priority that he names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from llama_cpp import llama_cpp as lib

from protocol.config import DraftConfig, Placement
from scheduler.backends.base import LoadError
from scheduler.backends.llama import threads
from tests.support.backends import TARGET, make_backend
from tests.support.paths import ROOT

CPUS = sorted(os.sched_getaffinity(0))
PROGRAM = """
import os, sys
from protocol.config import Placement
from tests.support.backends import compute, make_backend, text_tokens

before = os.sched_getaffinity(0)
backend = make_backend(**eval(sys.argv[1]))
compute(backend, text_tokens(20), 0)
print(sorted(os.sched_getaffinity(0)))
compute(backend, [*text_tokens(20), 7], 0, 20)
print(sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0))
backend.close()
"""


def affinities(fields: str) -> list[str]:
    """What a new process prints: its affinity after a prefill and after a decode, its nice."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, fields],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
@pytest.mark.parametrize(
    ("fields", "prefill", "decode"),
    [
        ("{}", CPUS, CPUS),
        (f"dict(placement=Placement(cpus=({CPUS[0]},)))", CPUS, CPUS[:1]),
        (f"dict(placement_batch=Placement(cpus=({CPUS[1]},)))", CPUS[1:2], CPUS),
        (
            f"dict(placement=Placement(cpus={tuple(CPUS)}, strict=True), n_threads=2)",
            CPUS,
            CPUS[:1],
        ),
    ],
)
def test_threads_run_on_the_named_cpus(fields: str, prefill: list[int], decode: list[int]) -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    assert affinities(fields) == [str(prefill), f"{decode} {nice}"]


def test_low_priority_is_a_higher_nice_value() -> None:
    assert affinities("dict(priority=-1)")[1].endswith(" 5")


def test_cpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(LoadError, match="may use none of the CPUs 511"):
        make_backend(placement=Placement(cpus=(511,)))


def test_a_draft_model_gets_its_own_threads() -> None:
    draft = DraftConfig(model_path=str(TARGET), placement=Placement(cpus=(511,)))
    with pytest.raises(LoadError, match="may use none of the CPUs 511"):
        make_backend(draft=draft, max_draft_tokens=4)


@pytest.mark.parametrize(("name", "number"), [("distribute", 1), ("isolate", 2), ("numactl", 3)])
def test_numa_strategies_reach_llama_cpp(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    called: list[int] = []
    monkeypatch.setattr(lib, "llama_numa_init", called.append)
    threads.use_numa("")
    threads.use_numa(name)
    assert called == [number]


def test_a_priority_that_is_not_allowed_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    threads.set_priority(2)
    assert "--prio 2 has no effect: Operation not permitted" in caplog.text
