"""Chat templates that are made to take time and memory, by what a client gives them."""

from __future__ import annotations

import asyncio

from loadtests.trials.attacks.attack import CHAT, MESSAGES, Attack, Run, Setting, Target

NUMBER = 10
N = 99_999_999
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)

PROGRAMS = {
    "empty nested ranges": (
        "{% for a in range(99999 if n else 0) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "the sum of ranges": (
        "{% for a in range(99999 if n else 0) %}{{ range(99999)|sum }}{% endfor %}"
    ),
    "a width of 3,000,000,000": "{{ '%3000000000d' % 1 if n else '' }}",
    "powers of powers": "{{ ((9**9**7)**64)|string|length if n else '' }}",
    "lipsum": "{{ lipsum(n=9999999) if n else '' }}",
    "center": "{{ 'x'|center(3000000000) if n else '' }}",
    "text that doubles": (
        "{% set ns = namespace(s='xxxx') %}{% for i in range(60 if n else 0) %}"
        "{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "lists that double": (
        "{% set ns = namespace(s=[1]) %}{% for i in range(60 if n else 0) %}"
        "{% set ns.s = ns.s + ns.s %}{% endfor %}"
    ),
    "macros that call themselves": (
        "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) if n else '' }}"
    ),
    "format, replace, join, batch": (
        "{% if n %}{{ '{:>2000000000}'.format('x') }}{{ ('x'*99999)|replace('', 'y'*99999) }}"
        "{{ range(99999)|batch(1)|list|tojson }}{% endif %}"
    ),
    "sorts and unique of products": (
        "{% if n %}{% for a in range(99999) %}{{ range(99999)|sort|reverse|list|length }}"
        "{% endfor %}{% endif %}"
    ),
}
"""Templates that are harmless unless a client gives them `n`."""


def _setting(program: str) -> Setting:
    flags = ("--chat-template-file", "{folder}/template.jinja")
    return Setting(flags, files=(("template.jinja", program + CHATML),))


def _armed(step: int = 0) -> Run:
    """20 requests that set the template's programs going, with variables that grow by a step."""

    async def run(target: Target) -> None:
        variables = [{"n": N + step * number} for number in range(20)]
        body = {"messages": MESSAGES, "max_tokens": 4}
        asked = (target.post(CHAT, {**body, "chat_template_kwargs": one}) for one in variables)
        replies = await asyncio.gather(*asked)
        statuses = {reply.status for reply in replies}
        target.claim(statuses <= {0, 200, 400, 429, 503}, f"attackers saw {sorted(statuses)}")

    return run


def _wide(times: int, **fields: object) -> Run:
    async def run(target: Target) -> None:
        await target.together(times, CHAT, {"messages": MESSAGES, "max_tokens": 1, **fields})

    return run


_LARGE = {f"key {n}": "x" * 10_000 for n in range(1000)}

ATTACKS = (
    *(Attack(NUMBER, name, _armed(), _setting(program)) for name, program in PROGRAMS.items()),
    *(
        Attack(NUMBER, f"{name}, each another", _armed(1), _setting(PROGRAMS[name]))
        for name in ("lipsum", "lists that double", "sorts and unique of products")
    ),
    Attack(NUMBER, "variables of 10 MB", _wide(8, chat_template_kwargs=_LARGE)),
    Attack(
        NUMBER,
        "a template of the client's own",
        _wide(4, chat_template="{% for a in range(99999) %}{% endfor %}", template="{{ 9**9**9 }}"),
    ),
)
