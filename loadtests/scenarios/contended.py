"""The plain load while another process keeps one core busy, like a neighbour on a shared node.

Threads that spin at a barrier waste the CPU time that the slowest thread needs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

from loadtests.harness.scenario import Basic, Client, Load, Needs, Plan, completion

PROMPT, ANSWER = 64, 32
REQUESTS = 2


class Contended(Basic):
    name = "contended"
    title = f"{PROMPT} random tokens in, {ANSWER} out, with one core kept busy by another process"
    key_metrics = ("output_tok_s", "itl_p99_ms")
    needs = Needs(slot_tokens=256, threads=os.cpu_count())

    def prepare(self, load: Load) -> Plan:
        clients = []
        for client in range(load.clients):
            prompts = [load.draw(PROMPT, "plain", client, index) for index in range(REQUESTS)]
            clients.append(Client(tuple(completion(prompt, ANSWER) for prompt in prompts)))
        return Plan(tuple(clients))

    def surroundings(self) -> AbstractContextManager[None]:
        return _one_core_busy()


@contextlib.contextmanager
def _one_core_busy() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


SCENARIO = Contended()
