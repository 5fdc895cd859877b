"""The whole benchmark, against small servers without a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from loadtests import compare
from loadtests.harness.prompts import PromptSource

SERVER = """#!{python}
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        for token in range(body["n_predict"]):
            self.event(content="a", tokens=[token], stop=False)
        self.event(content="", stop=True, tokens_predicted=body["n_predict"] - {missing},
                   tokens_evaluated=len(body["prompt"]), stop_type="limit")
    def event(self, **fields):
        self.wfile.write(b"data: " + json.dumps(fields).encode() + b"\\n\\n")
if "--version" in sys.argv:
    print("version: 42 (test)")
    sys.exit()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    source = PromptSource(tuple(range(100)))
    monkeypatch.setattr(compare, "_prompts", lambda model: source)


def server(folder: Path, missing: int = 0) -> Path:
    path = folder / f"server-{missing}"
    path.write_text(SERVER.format(python=sys.executable, missing=missing))
    path.chmod(0o755)
    return path


def arguments(ours: Path, peer: Path, *more: str) -> list[str]:
    options = ["--ours", str(ours), "--peer", str(peer), "--model", "some.gguf"]
    return [*options, "--scenario", "plain", *more]


LONG = ("--clients", "2", "--rounds", "2")
SHORT = ("--clients", "1", "--rounds", "1")


def test_both_sides_in_alternating_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = server(tmp_path)
    out = tmp_path / "out.json"
    assert compare.main(arguments(good, good, *LONG, "--json", str(out))) == 0
    printed = capsys.readouterr()
    order = [
        line.split(" · ")[3].split(" ...")[0]
        for line in printed.err.splitlines()
        if line.startswith("[")
    ]
    assert order == ["llamapack", "llama-server", "llama-server", "llamapack"]
    assert "version: 42 (test)" in printed.out
    cells = json.loads(out.read_text())["scenarios"][0]["cells"]
    assert [cell["clients"] for cell in cells] == [2]
    assert cells[0]["rounds"]["llamapack"][1]["output_tokens"] == 2 * 7 * 64


def test_a_missing_token_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(arguments(server(tmp_path), server(tmp_path, missing=1), *SHORT)) == 1
    printed = capsys.readouterr()
    assert "FAILED: request 1 (main): 7 tokens instead of 8 (limit)" in printed.err
    assert "llama-server FAILED" in printed.out


def test_a_server_that_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(arguments(server(tmp_path), tmp_path / "nothing", *SHORT)) == 1
    assert "cannot be started" in capsys.readouterr().out


@pytest.mark.parametrize("clients", ["0", "1,x", ""])
def test_clients_are_checked(clients: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        compare.main(["--peer", "p", "--clients", clients])
    assert caught.value.code == 2
    assert "--clients" in capsys.readouterr().err


def test_an_unknown_scenario_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--peer", "p", "--scenario", "none"]) == 2
    assert "error: no scenario 'none'; there are " in capsys.readouterr().err
