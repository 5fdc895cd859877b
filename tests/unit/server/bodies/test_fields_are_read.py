"""No field of a body is accepted and ignored, but for those whose lack of effect is documented."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import server
from server.bodies.request_model import RequestModel

ROOT = Path(server.__file__).parent
DIALECTS = ("anthropic", "embeddings", "llama_server", "lm_studio", "ollama", "openai", "requests")

WITHOUT_EFFECT = ("service_tier", "verbosity")
"""Fields that no code reads, as `docs/api.md` says."""

TABLES = ("server.requests.sampling_params", "server.requests.sampling_defaults")
"""Modules that read fields by lists of their names."""

REFUSED = {"images": "left out: the model reads text only", "action": "one value is possible"}
"""Fields that no code needs to read: their types allow one value."""


def bodies() -> Iterator[type[RequestModel]]:
    for dialect in DIALECTS:
        package = importlib.import_module(f"server.{dialect}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                is_model = isinstance(value, type) and issubclass(value, RequestModel)
                if is_model and value.__module__ == module.name:
                    yield value


@cache
def names_read() -> frozenset[str]:
    """Names of attributes that code reads, and of those that patterns match."""
    found: set[str] = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.MatchClass):
                found.update(node.kwd_attrs)
    return frozenset(found)


@cache
def names_listed(module: str) -> frozenset[str]:
    """Texts of a module: its tables name fields that are read, or refused, one after the other."""
    path = Path(str(importlib.import_module(module).__file__))
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("model", list(bodies()), ids=lambda model: model.__qualname__)
def test_every_field_is_read(model: type[RequestModel]) -> None:
    listed = set().union(*map(names_listed, (model.__module__, *TABLES)))
    own = set(model.__annotations__) & model.model_fields.keys()
    assert own - names_read() - listed <= {*WITHOUT_EFFECT, *REFUSED}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_lack_of_effect_is_documented(name: str) -> None:
    lines = (ROOT.parent / "docs/api.md").read_text().split("\n")
    assert any(f"`{name}`" in line and "without effect" in line for line in lines)
