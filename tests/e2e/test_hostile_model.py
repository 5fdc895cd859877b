"""A server whose model or chat template is hostile, as its operator and its clients see it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.processes import DEADLINE, TARGET, Stream, command, serving, wait_until

CHAT = [{"role": "user", "content": "What is the capital of France?"}]
N = 99_999
LOOPS = "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}"
DOUBLED = (
    "{% set ns = namespace(s='xxxx') %}"
    "{% for i in range(n and 60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
)
WIDTH = "{{ '%3000000000d' % n if n else '' }}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def write(path: Path, source: str, n: object) -> str:
    """A template file in which the program's `n` is as given."""
    path.write_text(f"{{% set n = {n} %}}{source}{CHATML}")
    return str(path)


@pytest.mark.parametrize("source", [LOOPS, DOUBLED, WIDTH], ids=["loops", "doubled", "width"])
def test_a_hostile_template_is_one_line_at_the_start(tmp_path: Path, source: str) -> None:
    path = write(tmp_path / "hostile.jinja", source, N)
    flags = ("-m", str(TARGET), "--port", "0", "--chat-template-file", path)
    ended = subprocess.run(command(*flags), capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "chat template can't be" in line]
    assert len(lines) == 1
    assert "Traceback" not in ended.stderr


def test_a_hostile_file_is_one_line_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    arrays = (9).to_bytes(4, "little") + (1).to_bytes(8, "little")
    head = b"GGUF" + b"\x03" + bytes(11) + b"\x01" + bytes(7) + b"\x01" + bytes(7) + b"k"
    path.write_bytes(head + (9).to_bytes(4, "little") + arrays * 100_000)
    ended = subprocess.run(
        command("-m", str(path), "--port", "0"), capture_output=True, text=True, timeout=DEADLINE
    )
    assert ended.returncode == 1
    assert "hostile.gguf is damaged" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("source", [LOOPS, DOUBLED, WIDTH], ids=["loops", "doubled", "width"])
def test_hostile_requests_beside_a_stream(tmp_path: Path, source: str) -> None:
    path = write(tmp_path / "hostile.jinja", source, "n or 0")

    def attack(_: int) -> httpx.Response:
        body = {"messages": CHAT, "max_tokens": 4, "chat_template_kwargs": {"n": N}}
        return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=DEADLINE)

    with serving("--chat-template-file", path) as server:
        stream = Stream(server, "A story", n_predict=400, ignore_eos=True)
        wait_until(lambda: stream.num_events > 0)
        with ThreadPoolExecutor(4) as threads:
            attacks = [threads.submit(attack, i) for i in range(4)]
            innocent = {"messages": CHAT, "temperature": 0, "max_tokens": 40}
            answer = httpx.post(
                f"{server.url}/v1/chat/completions", json=innocent, timeout=DEADLINE
            )
            answers = [attack.result() for attack in attacks]
        assert answer.status_code == 200
        assert "Paris" in answer.text
        for refused in answers:
            assert refused.status_code == 400
            assert "chat template" in refused.json()["error"]["message"]
        assert stream.join()
        assert stream.is_whole
        memory = psutil.Process(server.process.pid).memory_info().rss
        assert memory < 1 << 30
