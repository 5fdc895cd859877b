"""The trials' way into a cluster: kubectl alone, which needs no address of a pod or Service."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

REPLICAS = "deploy/llamapack"
ASKER = "deploy/llamapack-trials"
SERVICE, ROUTER = "llamapack", "llamapack-router"
ROLL_SECONDS = 600


class KubectlError(Exception):
    """A command failed. The message is what kubectl said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl on one namespace of one cluster."""

    command: Sequence[str]
    namespace: str

    async def run(self, *words: str) -> str:
        """What a command prints. Raises `KubectlError`."""
        process = await self._start(*words, stderr=PIPE)
        output, errors = await process.communicate(b"")
        if process.returncode:
            raise KubectlError(f"kubectl {' '.join(words)}: {errors.decode().strip()}")
        return output.decode()

    async def start_trial(self, *words: str) -> Process:
        """A trial that runs in the cluster. Its output has its errors too; its input is a pipe."""
        module = ("python3", "-m", "loadtests.trials")
        return await self._start("exec", "-i", ASKER, "--", *module, *words, stderr=STDOUT)

    async def address(self, service: str) -> tuple[str, str]:
        """The host and the first port of a Service, as pods reach it."""
        spec = json.loads(await self.run("get", "service", service, "-o", "json"))["spec"]
        return spec["clusterIP"], str(spec["ports"][0]["port"])

    async def restart_replicas(self) -> None:
        """Replace all replicas by new ones, as a change of their settings does."""
        await self.run("rollout", "restart", REPLICAS)
        await self.run("rollout", "status", REPLICAS, f"--timeout={ROLL_SECONDS}s")

    async def replica_names(self) -> list[str]:
        """The names of the pods with a replica, but those that end."""
        selector = "app.kubernetes.io/name=llamapack"
        pods = json.loads(await self.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        found = [pod["metadata"] for pod in pods]
        return [one["name"] for one in found if "deletionTimestamp" not in one]

    async def ask_prometheus(self, path: str, **parameters: str) -> Any:
        """An answer of the Prometheus beside the router. The API server passes the question on."""
        service = f"/api/v1/namespaces/{self.namespace}/services/{ROUTER}:prometheus/proxy"
        query = urllib.parse.urlencode(parameters)
        answer = json.loads(await self.run("get", "--raw", f"{service}/api/v1/{path}?{query}"))
        return answer["data"]

    async def _start(self, *words: str, stderr: int) -> Process:
        command = (*self.command, "--namespace", self.namespace, *words)
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=stderr
        )
