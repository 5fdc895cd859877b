"""References inside a JSON Schema: what they lead to, and documents that hold all they need."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import unquote

from grammars import limits
from grammars.errors import GrammarError
from grammars.json_schema.checker import subschemas

Schema = dict[str, Any]

_OWN = ("$defs", "definitions", "$id", "id", "$anchor")
"""Keywords by which a schema serves the references of others."""


class References:
    """Resolves the references of one document, which must not change meanwhile."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._anchors: dict[str, object] | None = None

    def target(self, reference: str) -> object:
        """The schema that a `$ref` leads to. Raises `GrammarError`."""
        base, _, fragment = reference.partition("#")
        if base not in ("", self._root.get("$id")):
            raise GrammarError(f"{reference!r} leads to a schema with an '$id' of its own")
        fragment = unquote(fragment)
        if not fragment or fragment.startswith("/"):
            return _at(fragment, self._root, reference)
        if self._anchors is None:
            self._anchors = _anchors(self._root)
        if fragment not in self._anchors:
            raise GrammarError(f"{reference!r} does not exist")
        return self._anchors[fragment]


def resolve(reference: str, root: Schema) -> object:
    """The schema that one `$ref` in the document `root` leads to. Raises `GrammarError`."""
    return References(root).target(reference)


def _anchors(root: Schema) -> dict[str, object]:
    """The schemas of a document that have anchors, by their anchors."""
    found: dict[str, object] = {}
    todo: list[object] = [root]
    while todo:
        schema = todo.pop()
        if isinstance(schema, dict) and isinstance(anchor := schema.get("$anchor"), str):
            found.setdefault(anchor, schema)
        todo += [below for _, below in subschemas(schema)]
    return found


def _at(pointer: str, root: Schema, reference: str) -> object:
    node: Any = root
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise GrammarError(f"{reference!r} does not exist") from None
    return node


class Detacher:
    """Makes documents of the parts of one document, which must not change meanwhile."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._references = References(root)
        self._num_left = limits.MAX_LARK_BYTES // 2
        """Values that may still be copied. As text, a value has at least two bytes."""

    def detached(self, schema: object) -> Schema:
        """A document for a part of the document, with every schema that the part refers to.

        Raises `GrammarError` for a reference that leads nowhere, and where parts refer to so much
        that no grammar could hold all of it.
        """
        copier = _Copier(self._references, min(self._num_left, limits.MAX_SCHEMA_NODES))
        document = copier.copied(schema)
        definitions: Schema = {}
        while copier.waiting:
            name, target = copier.waiting.pop()
            definitions[name] = copier.copied(target)
        self._num_left -= copier.num_copied
        root = self._root
        kept: Schema = {key: root[key] for key in ("$schema", "x-guidance") if key in root}
        return {**document, **kept, **({"$defs": definitions} if definitions else {})}


class _Copier:
    """Copies schemas so that their references lead to `$defs`."""

    def __init__(self, references: References, most: int) -> None:
        self._references = references
        self._most = most
        self.num_copied = 0
        self._names: dict[int, str] = {}
        """By the id of a schema that a reference leads to: its name in `$defs`."""
        self.waiting: list[tuple[str, object]] = []
        """Names in `$defs`, and the schemas that are still to be copied there."""

    def copied(self, schema: object) -> Schema:
        """A copy of a schema. `waiting` learns what the schema refers to."""
        if not isinstance(schema, dict):
            return {} if schema is True else {"allOf": [schema]}
        own = {key: schema[key] for key in schema if key not in _OWN}
        self._count(own)
        whole: Schema = copy.deepcopy(own)
        todo: list[object] = [whole]
        while todo:
            node = todo.pop()
            if not isinstance(node, dict):
                continue
            for keyword in _OWN:
                node.pop(keyword, None)
            if isinstance(reference := node.get("$ref"), str):
                node["$ref"] = f"#/$defs/{self._name(reference)}"
            todo += [below for _, below in subschemas(node)]
        return whole

    def _name(self, reference: str) -> str:
        """One name for all spellings of one place."""
        target = self._references.target(reference)
        name = self._names.get(id(target))
        if name is None:
            name = self._names[id(target)] = str(len(self._names))
            self.waiting.append((name, target))
        return name

    def _count(self, value: object) -> None:
        """Raise `GrammarError` if too many values would be copied."""
        todo = [value]
        while todo:
            node = todo.pop()
            self.num_copied += 1
            if self.num_copied > self._most:
                raise GrammarError(f"the schema has more than {self._most} values", "")
            if isinstance(node, dict):
                todo += node.values()
            elif isinstance(node, list):
                todo += node
