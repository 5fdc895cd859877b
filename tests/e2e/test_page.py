"""The page in a real browser: what a user does and sees, against real and scripted servers.

The scenarios are in `ui/e2e`. They fail on any error of the page, on a breach of its
Content-Security-Policy, and on any request to another host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import ServeSettings
from server.app import create_app
from tests.support.browser import needs_browser, play
from tests.support.fake_server import ScriptedGenerator, key_ring, make_server
from tests.support.live import serving as live
from tests.support.processes import TARGET, serving
from tests.support.scripted_servers import KillableServer

pytestmark = needs_browser

SMOLLM2 = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))

ATTACKS = (
    "<script>hacked.push(1)</script>",
    "<img src=x onerror=hacked.push(2)>",
    "<svg onload=hacked.push(3)><iframe src='javascript:hacked.push(4)'></iframe>",
    "[a](javascript:hacked.push(5)) [b](data:text/html,<script>hacked.push(6)</script>)",
    "![a](https://attacker.example/pixel.png) <https://attacker.example/>",
    '```"><img src=x onerror=hacked.push(7)>\n"><img src=x onerror=hacked.push(8)>\n```\n',
    "$\\href{javascript:hacked.push(9)}{x}$ $$\\includegraphics{https://attacker.example/x}$$",
    '$<img src=x onerror=hacked.push(10)>$ $a" onmouseover="hacked.push(11)$',
    "<a href='https://attacker.example' style='position:fixed;inset:0'>x</a>",
    "<style>*{background:url(https://attacker.example/)}</style>",
    "<link rel=prefetch href=//attacker.example><base href=//attacker.example>",
    "<form action=https://attacker.example><button>x</button></form>",
    "<math><mi xlink:href='javascript:hacked.push(12)'></mi></math>",
    "<details ontoggle=hacked.push(13) open>",
    '{"a": "</pre><img src=x onerror=hacked.push(14)>"}',
    "'\"><svg/onload=hacked.push(15)>",
    "](x)![<img src=x onerror=hacked.push(16)>](y) `<img src=x onerror=hacked.push(17)>`",
)

MARKDOWN = """# Title

Some **bold** text, `code`, a [link](https://example.com/), and $e^{i\\pi} + 1 = 0$.

$$
\\int_0^1 x^2 \\, dx = \\frac{1}{3}
$$

```python
def greet(name: str) -> str:
    return f"Hello, {name}"
```

| a | b |
|---|---|
| 1 | 2 |
| 3 | 4 |

- one
  - two
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    with serving() as server:
        yield server.url


@contextmanager
def scripted(
    pieces: Sequence[str] = ("Hello", ", ", "world"),
    *,
    key: str = "",
    delay: float = 0.0,
    prefix: str = "",
) -> Iterator[str]:
    settings = ServeSettings(api_prefix=prefix)
    server = make_server(settings, ScriptedGenerator(pieces, delay=delay))
    app = create_app(server.context, keys=key_ring(key) if key else None)
    with live(app) as url:
        yield url + prefix


@pytest.mark.parametrize(
    "scenario",
    [
        "first_minute",
        "stream",
        "edit_and_branch",
        "tool_call",
        "json_schema",
        "side_by_side",
        "reload_keeps_all",
        "attachments",
        "looks",
        "keyboard",
        "narrow",
    ],
)
def test_with_the_demo_model(demo: str, scenario: str) -> None:
    play(scenario, demo)


@pytest.mark.skipif(not SMOLLM2.exists(), reason="LLAMAPACK_SMOLLM2 names no file")
def test_a_chat_with_smollm2() -> None:
    with serving("-m", str(SMOLLM2), "--predict", "80") as server:
        play("stream", server.url)


def test_several_models(tmp_path: Path) -> None:
    for name in ("alpha", "beta"):
        (tmp_path / f"{name}.gguf").symlink_to(TARGET)
    with serving("--models-dir", str(tmp_path), has_one_model=False) as server:
        play("several_models", server.url)


def test_stop() -> None:
    with scripted(["word "] * 5000, delay=0.02) as url:
        play("stop", url)


@pytest.mark.parametrize("prefix", ["", "/llm"])
def test_keys_are_asked_for(prefix: str) -> None:
    with scripted(key="a-secret-key", prefix=prefix) as url:
        play("keys", url, options={"key": "a-secret-key"})


def test_an_answer_goes_on_after_the_server_was_killed() -> None:
    with KillableServer() as server:
        play("server_restart", server.url, outside=server.do)


def test_five_hundred_conversations() -> None:
    with scripted() as url:
        print(play("many_conversations", url))


def test_fifty_thousand_tokens_do_not_freeze_the_page() -> None:
    lines = [_line(number) for number in range(50_000 // 50)]
    pieces = [word for line in lines for word in line]
    # Spaces, line ends and signs of Markdown are not all shown.
    shown = sum(len("".join(char for char in piece if char.isalnum())) for piece in pieces)
    with scripted([*pieces, "\n\nlastword"]) as url:
        print(play("long_answer", url, options={"last": "lastword", "chars": shown}))


def _line(number: int) -> list[str]:
    """Fifty tokens of Markdown: text, lists, code and headings in turn."""
    words = [f"word{number % 97} " for _ in range(46)]
    if number % 40 == 0:
        return ["\n\n", "## ", f"Section {number}", "\n\n", *words]
    if number % 40 in range(10, 20):
        return ["\n", "- ", "**item** ", " ", *words]
    if number % 40 == 25:
        return ["\n\n```", "python\n", "x = 1\n", "\n", *words[:-1], "\n```\n"]
    return ["\n\n", "*so* ", "`code` ", " ", *words]


def test_markdown_code_and_formulas() -> None:
    pieces = [MARKDOWN[start : start + 7] for start in range(0, len(MARKDOWN), 7)]
    with scripted(pieces) as url:
        play("markdown", url)


def test_long_code_and_tables_are_drawn_in_pieces() -> None:
    functions, rows = 200, 300
    code = "\n".join(f"def f{n}(a):\n    # {n}\n    return a + {n}\n" for n in range(functions))
    cells = "\n".join(f"| {n} | **{n}** | ${n}x$ |" for n in range(rows))
    text = f"```python\n{code}```\n\n| n | bold | formula |\n|---|---|---|\n{cells}\n\nlastword"
    with scripted([text[start : start + 9] for start in range(0, len(text), 9)]) as url:
        options = {"code": code, "functions": functions, "rows": rows, "last": "lastword"}
        print(play("long_blocks", url, options=options))


def test_nothing_that_a_model_or_a_file_says_becomes_part_of_the_page() -> None:
    text = "\n\n".join(ATTACKS)
    with scripted([text[start : start + 5] for start in range(0, len(text), 5)]) as url:
        play("attacks", url, options={"attacks": ATTACKS})
