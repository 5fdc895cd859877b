"""Templates that would use up time or memory, at the start and in requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from confined.failures import Failures
from confined.pool import Pace
from confined.turns import Crowded, Turns
from confined.work import Work
from server.errors import InvalidRequest
from server.startup import ChatTemplateError
from server.templates.chat_template import ChatTemplate
from server.templates.rendering import renderers

USER = {"role": "user", "content": "Hello?"}
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
N = 99_999

# Each is a program that runs if `n` is 99,999.
HOSTILE = {
    "nested empty loops": (
        "{% for a in range(n) %}{% for b in range(n) %}{% for c in range(n) %}"
        "{% endfor %}{% endfor %}{% endfor %}"
    ),
    "nested loops of look-ups": (
        "{% for a in range(n) %}{% for b in range(n) %}{% set x = messages[0].role %}"
        "{% endfor %}{% endfor %}"
    ),
    "nested loops of text": (
        "{% for a in range(n) %}{% for b in range(n) %}x{% endfor %}{% endfor %}"
    ),
    "doubled string": (
        "{% set ns = namespace(s='xxxx') %}{% for i in range(60 if n else 0) %}"
        "{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "doubled list": (
        "{% set ns = namespace(l=[1]) %}{% for i in range(60 if n else 0) %}"
        "{% set ns.l = ns.l + ns.l %}{% endfor %}"
    ),
    "list that grows": (
        "{% set q = [1] %}{% for i in q if n %}{% set _ = q.append(q) %}{% endfor %}"
    ),
    "multiplied string": "{{ 'x' * (n * n) }}",
    "format width": "{{ '%3000000000d' % n if n else '' }}",
    "format width of a variable": "{{ '%*d' % (n * n, 1) if n else '' }}",
    "format method": "{{ '{:>3000000000}'.format(n) if n else '' }}",
    "format filter": "{{ '%09999999999d' | format(n) if n else '' }}",
    "big power": "{{ n ** (n ** 2) if n else '' }}",
    "power of powers": (
        "{% set ns = namespace(x=n) %}"
        "{% for i in range(9) %}{% set ns.x = ns.x ** 64 %}{% endfor %}{{ ns.x % 7 }}"
    ),
    "sums": "{% for a in range(n) %}{% set x = range(n) | sum %}{% endfor %}",
    "sum of lists": "{{ ([[1] * n] * n) | sum(start=[]) | length if n else '' }}",
    "join": "{{ (['x' * n] * n) | join('y' * n) if n else '' }}",
    "center": "{{ 'x' | center(n * n) if n else '' }}",
    "ljust": "{{ 'x'.ljust(n * n) if n else '' }}",
    "replace": "{{ ('x' * n) | replace('x', 'y' * n) if n else '' }}",
    "indent": "{{ ('a\\n' * n) | indent(n) if n else '' }}",
    "lipsum": "{{ lipsum(n=n * n) if n else '' }}",
    "sorts": "{% for a in range(n) %}{% set x = range(n) | sort %}{% endfor %}",
    "batches": "{{ [1] | batch(n * n, 0) | list | length if n else '' }}",
    "JSON": "{{ ([[1] * n] * n) | tojson if n else '' }}",
    "macros that call twice": (
        "{% macro f(i) %}{% if i %}{{ f(i - 1) }}{{ f(i - 1) }}{% endif %}{% endmacro %}"
        "{{ f(100) if n }}"
    ),
    "recursive loop": (
        "{% for a in [1, 2] if n recursive %}{% if loop.depth < 100 %}{{ loop([1, 2]) }}{% endif %}"
        "{% endfor %}"
    ),
    "cycler": (
        "{% set c = cycler(0, *range(n)) %}{% for a in range(n) %}{% for b in range(n) %}"
        "{% set x = c.next() %}{% endfor %}{% endfor %}"
    ),
    "words": "{% for a in range(n) %}{% set x = ('a ' * n) | wordcount %}{% endfor %}",
}

# What ends by an error of Python before any limit; the start goes on, and requests get a 400.
CHEAP = {
    "endless recursion": "{% macro f(i) %}{{ f(i + 1) }}{% endmacro %}{{ f(0) if n }}",
    "list in itself": "{% set q = [] %}{% set _ = q.append(q) %}{{ q | tojson if n }}",
}


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderers.pool, "slow", Pace(0.3, 20.0))
    monkeypatch.setattr(renderers.pool, "_failures", Failures())


@pytest.mark.parametrize("program", HOSTILE.values(), ids=HOSTILE)
def test_hostile_at_the_start(program: str) -> None:
    begin = time.monotonic()
    with pytest.raises(
        ChatTemplateError, match="the chat template can't be rendered: it"
    ) as caught:
        ChatTemplate(f"{{% set n = {N} %}}" + program + PLAIN)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("program", (HOSTILE | CHEAP).values(), ids=HOSTILE | CHEAP)
def test_hostile_by_request(program: str) -> None:
    template = ChatTemplate("{% set n = n or 0 %}" + program + PLAIN)
    with pytest.raises(InvalidRequest, match="chat template") as caught:
        template.render([USER], variables={"n": N})
    assert caught.value.param == "messages"
    assert template.render([USER]).endswith("[user]Hello?")


@pytest.mark.parametrize(
    "source",
    [
        "{{ '%3000000000d' % 1 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'x'.ljust(9999999999) }}",
        "{{ 'x' | center(99999999999) }}",
        "x" * (2 << 20),
    ],
    ids=lambda source: source[:20],
)
def test_constants_that_the_compiler_would_compute(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source)


@pytest.mark.parametrize("nested", ["(", "[", "{% if x %}", "{% for a in x %}", "not ", "-"])
def test_deep_sources(nested: str) -> None:
    inside = nested * 5000
    with pytest.raises(ChatTemplateError):
        ChatTemplate(inside if nested.startswith("{%") else f"{{{{ {inside} 1 }}}}")


def test_all_small_conversations_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.templates.chat_template._PROBE_SECONDS", 0.2)
    slow = "{% for a in range(99999) %}{% endfor %}{% for a in range(99999) %}{% endfor %}" * 6
    with pytest.raises(ChatTemplateError, match="small conversations"):
        ChatTemplate(slow + PLAIN)


def test_other_renders_never_wait_for_slow_ones() -> None:
    program = HOSTILE["nested empty loops"]
    template = ChatTemplate("{% set n = n or 0 %}" + program + PLAIN)
    done = threading.Event()

    def attack() -> int:
        with pytest.raises(InvalidRequest, match=r"more than 0\.3 s"):
            template.render([USER], variables={"n": N})
        return 1

    def innocent() -> int:
        count = 0
        while not done.is_set():
            assert template.render([USER]) == "[user]Hello?"
            count += 1
        return count

    with ThreadPoolExecutor(5) as threads:
        attacks = [threads.submit(attack) for _ in range(4)]
        count = threads.submit(innocent)
        assert sum(future.result() for future in attacks) == 4
        done.set()
        # Behind the slow renders, four of the innocent ones would have had their turn.
        assert count.result() > 50


def test_too_many_slow_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate("{% set n = n or 0 %}" + HOSTILE["nested empty loops"] + PLAIN)
    monkeypatch.setattr(renderers.pool, "slow_turns", Turns(1, most=1))
    with renderers.pool.slow_turns.turn(Work()), pytest.raises(Crowded):
        template.render([USER], variables={"n": N})
    assert template.render([USER]) == "[user]Hello?"


def test_compiling_a_large_template_is_no_slow_render(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderers.pool, "slow", Pace(1.0, 20.0))
    branches = "".join(
        f"{{% if messages[0].role == 'r{i}' %}}{{{{ messages[{i}].x }}}}{{% endif %}}"
        for i in range(500)
    )
    template = ChatTemplate("{% set n = n or 0 %}" + branches + HOSTILE["big power"] + PLAIN)
    # The processes that break a limit are replaced, and compile again.
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            template.render([USER], variables={"n": N})
    monkeypatch.setattr(renderers.pool, "slow_turns", Turns(0))
    assert template.render([USER]) == "[user]Hello?"
