"""The precise router for the replicas of a Kubernetes namespace: `python -m loadtests.routing`.

It also tells Prometheus which pods there are, at /router/targets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from loadtests.routing.pods import Pods, Ports, ready_replicas, scrape_targets
from loadtests.routing.proxy import router_app
from loadtests.routing.replicas import Replica


def main(argv: Sequence[str]) -> None:
    """Serve until a signal comes. It runs in a pod whose account may list pods."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.routing", description=__doc__)
    parser.add_argument("--listen", type=int, default=8000, help="port")
    parser.add_argument("--selector", default="app.kubernetes.io/name=llamapack", help="of pods")
    parser.add_argument("--port", type=int, default=8080, help="of replicas")
    parser.add_argument("--events-port", type=int, default=5557)
    parser.add_argument("--replay-port", type=int, default=5558)
    options = parser.parse_args(argv)
    ports = Ports(options.port, options.events_port, options.replay_port)
    pods = Pods(options.selector)

    async def ready() -> list[Replica]:
        return list(ready_replicas(await pods.all(), ports))

    async def targets(request: Request) -> JSONResponse:
        return JSONResponse(scrape_targets(await pods.all(), ports))

    app = router_app(ready, [Route("/router/targets", targets)])
    uvicorn.run(app, host="0.0.0.0", port=options.listen, access_log=False)


if __name__ == "__main__":
    main(sys.argv[1:])
