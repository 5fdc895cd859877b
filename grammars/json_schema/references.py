"""References inside a JSON Schema: what they lead to, and documents that hold all they need."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import unquote

from grammars.errors import GrammarError
from grammars.json_schema.checker import subschemas

Schema = dict[str, Any]

_OWN = ("$defs", "definitions", "$id", "id", "$anchor")
"""Keywords by which a schema serves the references of others."""


def resolve(reference: str, root: Schema) -> object:
    """The schema that a `$ref` in the document `root` leads to. Raises `GrammarError`."""
    base, _, fragment = reference.partition("#")
    if base not in ("", root.get("$id")):
        raise GrammarError(f"{reference!r} leads to a schema with an '$id' of its own")
    fragment = unquote(fragment)
    if not fragment or fragment.startswith("/"):
        return _at(fragment, root, reference)
    todo: list[object] = [root]
    while todo:
        schema = todo.pop()
        if isinstance(schema, dict) and schema.get("$anchor") == fragment:
            return schema
        todo += [below for _, below in subschemas(schema)]
    raise GrammarError(f"{reference!r} does not exist")


def _at(pointer: str, root: Schema, reference: str) -> object:
    node: Any = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise GrammarError(f"{reference!r} does not exist") from None
    return node


def detached(schema: object, root: Schema) -> Schema:
    """A document for a part of the document `root`, with every schema that the part refers to.

    Raises `GrammarError` for a reference that leads nowhere.
    """
    names: dict[str, str] = {}
    definitions: Schema = {}
    document = _copied(schema, names)
    waiting = list(names)
    while waiting:
        reference = waiting.pop()
        definitions[names[reference]] = _copied(resolve(reference, root), names)
        waiting += [found for found in names if names[found] not in definitions]
        waiting = list(dict.fromkeys(waiting))
    kept: Schema = {key: root[key] for key in ("$schema", "x-guidance") if key in root}
    return {**document, **kept, **({"$defs": definitions} if definitions else {})}


def _copied(schema: object, names: dict[str, str]) -> Schema:
    """A copy whose references lead to `$defs`; `names` learns the references."""
    if not isinstance(schema, dict):
        return {} if schema is True else {"allOf": [schema]}
    whole: Schema = copy.deepcopy({key: schema[key] for key in schema if key not in _OWN})
    todo: list[object] = [whole]
    while todo:
        node = todo.pop()
        if not isinstance(node, dict):
            continue
        for keyword in _OWN:
            node.pop(keyword, None)
        if isinstance(reference := node.get("$ref"), str):
            name = names.setdefault(reference, str(len(names)))
            node["$ref"] = f"#/$defs/{name}"
        todo += [below for _, below in subschemas(node)]
    return whole
