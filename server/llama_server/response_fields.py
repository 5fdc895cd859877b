"""The field `response_fields` of a native completion: which fields the answer keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MISSING = object()


def pick_fields(answer: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The named fields of the answer. `a/b` is field b of object a, under the name `a/b`.

    Without names, the answer keeps all fields. Names that don't exist are left out.
    """
    if not paths:
        return dict(answer)
    found = {path: _lookup(answer, path) for path in paths}
    return {name: value for name, value in found.items() if value is not _MISSING}


def _lookup(answer: Mapping[str, Any], path: str) -> Any:
    value: Any = answer
    for name in path.split("/"):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value
