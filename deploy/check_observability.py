"""Checks the rules and the dashboard with a real Prometheus: `python deploy/check_observability.py`

It starts a server with the embedded model, a light load, and Prometheus, whose programs have to be
installed (Debian: apt-get install prometheus). Then each expression of each rule and panel has to
succeed and to return data. The metrics that alerts read have to exist, even if no alert fires.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RULES = HERE / "prometheus"
DASHBOARD = HERE / "grafana" / "llamapack.json"
LOAD_SECONDS = 40
START_SECONDS = 120
LLAMAPACK = Path(sys.executable).with_name("llamapack")

ON_GPUS_ONLY = "llamapack_gpu_"
"""How the names of metrics begin that a machine without GPUs doesn't have."""

METRIC = re.compile(r"\b(?:llamapack|llamacpp|vllm|process|model|key)[_:][\w:]+|\bup\b")
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}/llamapack.rules.yml, {rules}/llamapack.alerts.yml]
scrape_configs:
  - job_name: llamapack
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def main() -> int:
    """Run the check. Returns 1 if an expression fails or returns no data."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, prometheus = free_port(), free_port()
        stack.enter_context(running(serve_command(server), folder / "server.log"))
        wait_for(f"http://127.0.0.1:{server}/readyz", folder / "server.log")
        command = prometheus_command(folder, server, prometheus)
        stack.enter_context(running(command, folder / "prometheus.log"))
        url = f"http://127.0.0.1:{prometheus}"
        wait_for(f"{url}/-/ready", folder / "prometheus.log")
        load(f"http://127.0.0.1:{server}", LOAD_SECONDS)
        problems = [*check_panels(url), *check_rules(url), *check_exemplars(url)]
        problems += check_page(f"http://127.0.0.1:{server}/metrics")
        usual = get(url, "query", query="quantile_over_time(0.5, scrape_duration_seconds[1m])")
    print(f"a scrape takes {1000 * float(usual['result'][0]['value'][1]):.1f} ms (median)")
    print("\n".join(problems) or "every expression returns data")
    return 1 if problems else 0


def serve_command(port: int) -> list[str]:
    """The command of a small server with the embedded model and its draft model."""
    draft = HERE.parent / "models" / "demo" / "demo-draft.gguf"
    flags = ["--metrics", "-np", "4", "-t", "1", "-md", str(draft)]
    return [str(LLAMAPACK), "serve", "--port", str(port), *flags]


def prometheus_command(folder: Path, server: int, port: int) -> list[str]:
    """The command of a Prometheus with the shipped rules, which scrapes every second."""
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.format(rules=RULES.resolve(), port=server))
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Run a process while the block runs. Its output goes to the file `log`."""
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(url: str, log: Path) -> None:
    """Wait until `url` answers 200. Raises `TimeoutError` with the end of the log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} doesn't answer:\n{log.read_text()[-2000:]}")


def check_page(url: str) -> Iterator[str]:
    """What promtool says about the page, without the names that llama-server and vLLM chose.

    The page is requested as text, the only format that promtool reads.
    """
    with urllib.request.urlopen(url) as answer:
        page = answer.read()
    command = ["promtool", "check", "metrics"]
    result = subprocess.run(command, input=page, capture_output=True, check=False)
    for line in (result.stdout + result.stderr).decode().splitlines():
        if not line.startswith(("llamacpp:", "vllm:")):
            yield f"promtool: {line}"


def load(url: str, seconds: float) -> None:
    """Three clients who chat, and one whose requests are refused."""
    deadline = time.monotonic() + seconds
    workers = [threading.Thread(target=chat, args=(url, n, deadline)) for n in range(3)]
    for worker in workers:
        worker.start()
    while time.monotonic() < deadline:
        post(f"{url}/v1/chat/completions", {"messages": 5})
        time.sleep(1)
    for worker in workers:
        worker.join()


def chat(url: str, number: int, deadline: float) -> None:
    """Ask questions that share their beginning. Every third answer has to be JSON."""
    turn = 0
    while time.monotonic() < deadline:
        turn += 1
        system = "You are a helpful assistant who answers in one short sentence. " * 2
        question = f"Say something about the number {number * 100 + turn}."
        body: dict[str, Any] = {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": question},
            ],
            "max_tokens": 24,
            "stream": turn % 2 == 0,
        }
        if turn % 3 == 0:
            body["response_format"] = {"type": "json_object"}
        post(f"{url}/v1/chat/completions", body)
        time.sleep(0.2)


def post(url: str, body: dict[str, Any]) -> None:
    """Send `body` and read the whole answer. A refusal is no error."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        error.close()


def check_panels(url: str) -> Iterator[str]:
    """Faults of the dashboard's expressions, one line each."""
    known = known_metrics(url)
    for title, expr in panel_expressions():
        if not lacks_gpu(expr, known):
            yield from check(url, f"panel {title!r}", concrete(expr))


def panel_expressions() -> Iterator[tuple[str, str]]:
    """The title and the expression of each line in each panel."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def concrete(expr: str) -> str:
    """The expression with values in place of the dashboard's variables."""
    return expr.replace("$__rate_interval", "30s").replace("$model", ".*")


def check_rules(url: str) -> Iterator[str]:
    """Faults of the rules' expressions, as Prometheus has read them, one line each."""
    known = known_metrics(url)
    for group in get(url, "rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                yield f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}"
            elif rule["type"] == "recording":
                yield from check(url, f"rule {rule['name']}", rule["query"])
            missing = metrics_of(rule["query"]) - known
            if missing and not lacks_gpu(rule["query"], known):
                yield f"rule {rule['name']} asks for {', '.join(sorted(missing))}"


def check_exemplars(url: str) -> Iterator[str]:
    """A line if no exemplar of the latency names the id of its request."""
    now = time.time()
    found = get(
        url,
        "query_exemplars",
        query="vllm:e2e_request_latency_seconds_bucket",
        start=str(now - 300),
        end=str(now),
    )
    if not any("request_id" in e["labels"] for series in found for e in series["exemplars"]):
        yield "no exemplar has a request id"


def known_metrics(url: str) -> frozenset[str]:
    """The names of all metrics that Prometheus has."""
    return frozenset(get(url, "label/__name__/values"))


def lacks_gpu(expr: str, known: frozenset[str]) -> bool:
    """Whether the expression reads metrics of GPUs, and there are none."""
    return any(name.startswith(ON_GPUS_ONLY) for name in metrics_of(expr) - known)


def metrics_of(expr: str) -> frozenset[str]:
    """The names of the metrics that an expression reads."""
    bare = re.sub(r"\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)", "", expr)
    return frozenset(METRIC.findall(bare))


def check(url: str, what: str, expr: str) -> Iterator[str]:
    """A line if the expression fails or returns no data."""
    try:
        found = get(url, "query", query=expr)["result"]
    except urllib.error.HTTPError as error:
        yield f"{what}: {error.read().decode()}"
        return
    values = [float(series["value"][1]) for series in found]
    if not any(value == value for value in values):
        yield f"{what}: no data for {expr}"


def get(url: str, path: str, **parameters: str) -> Any:
    """An answer of Prometheus' API. Raises `HTTPError`."""
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=30) as answer:
        return json.load(answer)["data"]


if __name__ == "__main__":
    sys.exit(main())
