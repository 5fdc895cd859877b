"""The log lines of both processes, in one form and one place."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.processes import TARGET, command, wait_until


def test_both_processes_write_json_lines_to_the_log_file(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    flags = ("--log-json", "-lv", "5", "--log-file", str(path), "--port", "0", "-c", "512")
    with subprocess.Popen(
        command("-m", str(TARGET), *flags), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: path.exists() and "ready: " in path.read_text())
        process.terminate()
        _, errors = process.communicate()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [line["message"] for line in lines if line["logger"] == "llama.cpp"]
    assert any("llama_context:" in text for text in texts), "the engine's lines are missing"
    assert errors == ""
