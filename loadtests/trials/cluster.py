"""Replicas on a real Kubernetes: their caches, rolling restarts, and what autoscalers ask.

`kubectl apply -k loadtests/kubernetes` comes first, with the images of loadtests/README.md. The
trial has three parts:

- cache: conversations through the plain Service, and through the precise router
- rollout: rolling restarts under streams, through both
- queue: more requests than slots, seen through the questions that the autoscalers ask Prometheus
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import time
from asyncio.subprocess import Process

from loadtests.kubernetes.kubectl import ROUTER, SERVICE, Kubectl, KubectlError
from loadtests.kubernetes.measures import (
    Measure,
    hpa_measures,
    keda_manifest,
    keda_measures,
    total,
)

PARTS = ("cache", "rollout", "queue")
SETTLE_SECONDS = 3.0
"""Until the router and the proxies have heard of a change."""

SAMPLE_SECONDS = 2.0
IDLE_SECONDS = 90.0
"""The queue has to be empty again after this time."""

_SHARE = re.compile(r": ([\d.]+)% of")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: which cluster, which parts, how much load."""
    parser.add_argument("--kubectl", default="kubectl", help="the command, with its own options")
    parser.add_argument("--namespace", default="llamapack")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--clients", type=int, default=3, help="who hold the conversations")
    parser.add_argument("--rolls", type=int, default=2, help="restarts through each door")
    parser.add_argument("--roll-seconds", type=int, default=600, help="for all of them, at most")
    parser.add_argument("--roll-clients", type=int, default=8)
    parser.add_argument("--queue-clients", type=int, default=32)
    parser.add_argument("--queue-seconds", type=int, default=30)


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    kubectl = Kubectl(shlex.split(options.kubectl), options.namespace)
    parts = {"cache": _cache, "rollout": _rollout, "queue": _queue}
    problems = []
    for name in [options.only] if options.only else PARTS:
        try:
            problems += await parts[name](kubectl, options)
        except KubectlError as error:
            problems.append(f"{name}: {error}")
    return problems


async def _cache(kubectl: Kubectl, options: argparse.Namespace) -> list[str]:
    shares = {}
    load = ("--conversations", str(options.conversations), "--clients", str(options.clients))
    for service in (SERVICE, ROUTER):
        await kubectl.restart_replicas()  # so that all caches are empty
        await asyncio.sleep(SETTLE_SECONDS)
        host, port = await kubectl.address(service)
        flags = ("--url", f"http://{host}:{port}", "--new-connections", *load)
        output, problems = await _finished(await kubectl.start_trial("routing", *flags))
        found = _SHARE.search(output)
        if problems or found is None:
            return [f"conversations through {service}: {output}"]
        shares[service] = float(found[1])
        print(f"{service}: {found[1]} % of the prompts' tokens were cached")
    if shares[ROUTER] <= shares[SERVICE]:
        return ["the router finds no more in caches than the plain Service"]
    return []


async def _rollout(kubectl: Kubectl, options: argparse.Namespace) -> list[str]:
    problems = []
    for service in (SERVICE, ROUTER):
        host, port = await kubectl.address(service)
        flags = {"--host": host, "--port": port, "--clients": options.roll_clients}
        flags |= {"--seconds": options.roll_seconds, "--tokens": 50}
        streams = await _started(kubectl, "rollout", flags, "--until-eof")
        before = set(await kubectl.replica_names())
        begun = time.monotonic()
        for _ in range(options.rolls):
            await asyncio.sleep(SETTLE_SECONDS)
            await kubectl.restart_replicas()
        took = time.monotonic() - begun
        if streams.returncode is not None:
            problems.append(f"{service}: the streams ended before the rolls, after {took:.0f} s")
        await asyncio.sleep(SETTLE_SECONDS)
        output, failed = await _finished(streams)
        after = set(await kubectl.replica_names())
        print(f"{service}: {options.rolls} rolls in {took:.0f} s\n{output.strip()}")
        problems += [f"{service}: {problem}" for problem in failed]
        if before & after:
            problems.append(f"{service}: the rolls left {', '.join(before & after)}")
    return problems


async def _queue(kubectl: Kubectl, options: argparse.Namespace) -> list[str]:
    await kubectl.restart_replicas()
    asked = {"HPA": await hpa_measures(kubectl), "KEDA": keda_measures(keda_manifest())}
    for name, measures in asked.items():
        for measure in measures:
            print(f"{name} asks: {measure.query}")
    least = len(await kubectl.replica_names())
    host, port = await kubectl.address(SERVICE)
    flags = {"--host": host, "--port": port, "--clients": options.queue_clients}
    flags |= {"--seconds": options.queue_seconds, "--tokens": 100, "--pause": 0}
    problems = []
    if any(await _wanted(kubectl, asked)):
        problems.append("an idle cluster asks for replicas")
    streams = await _started(kubectl, "rollout", flags)
    most = [0] * len(asked)
    while streams.returncode is None:
        most = [max(pair) for pair in zip(most, await _wanted(kubectl, asked), strict=True)]
        await asyncio.sleep(SAMPLE_SECONDS)
    output, failed = await _finished(streams)
    print(output.strip())
    for name, count in zip(asked, most, strict=True):
        print(f"{name} would have {count} replicas, of {least}")
        if count <= least:
            problems.append(f"{name}: a full queue asks for no more replicas")
    deadline = time.monotonic() + IDLE_SECONDS
    while any(await _wanted(kubectl, asked)):
        if time.monotonic() > deadline:
            return [*problems, *failed, "an idle cluster still asks for replicas"]
        await asyncio.sleep(SAMPLE_SECONDS)
    return problems + failed


async def _wanted(kubectl: Kubectl, asked: dict[str, list[Measure]]) -> list[int]:
    """How many replicas each autoscaler wants now: the most that one of its measures asks for."""
    wanted, shown = [], []
    for name, measures in asked.items():
        totals = [await total(kubectl, measure) for measure in measures]
        pairs = zip(measures, totals, strict=True)
        wanted.append(max(measure.wanted(value) for measure, value in pairs))
        values = ", ".join(f"{value:.3g}" for value in totals)
        shown.append(f"{name} sees {values} and wants {wanted[-1]}")
    print("; ".join(shown), flush=True)
    return wanted


async def _started(kubectl: Kubectl, name: str, flags: dict[str, object], *more: str) -> Process:
    words = [str(word) for pair in flags.items() for word in pair]
    return await kubectl.start_trial(name, *words, *more)


async def _finished(process: Process) -> tuple[str, list[str]]:
    """The output of a trial, whose input ends now, and what went wrong."""
    output = (await process.communicate(b""))[0].decode()
    failed = re.findall(r"^FAILED: (.*)$", output, re.MULTILINE)
    if process.returncode and not failed:
        failed = [output[-1000:]]
    return output, failed
