"""What changed between two views, in the shape of a view without the rest."""

from __future__ import annotations

from typing import Any

from server.room.schema import EngineView, RequestView, RoomView, SlotView

_Item = SlotView | RequestView

BY_ID = ("slots", "requests")
"""Lists of which an update has only what changed: of each item its `id` and the changed fields."""


def difference(before: RoomView, after: RoomView) -> dict[str, Any]:
    """The fields of `after` that are not equal to those of `before`; empty if nothing changed.

    An engine that is gone is null.
    """
    changed: dict[str, Any] = {}
    for field in ("server", "models", "downloads"):
        if getattr(before, field) != getattr(after, field):
            changed[field] = getattr(after, field)
    engines: dict[str, Any] = {name: None for name in before.engines if name not in after.engines}
    for name, engine in after.engines.items():
        old = before.engines.get(name)
        news = engine if old is None else _of_engine(old, engine)
        if news:
            engines[name] = news
    if engines:
        changed["engines"] = engines
    return changed


def _of_engine(before: EngineView, after: EngineView) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for field in after.__struct_fields__:
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        if field in BY_ID:
            known = {item.id: item for item in old}
            new = [_of_item(known.get(item.id), item) for item in new if known.get(item.id) != item]
        changed[field] = new
    return changed


def _of_item(before: _Item | None, after: _Item) -> dict[str, Any] | _Item:
    if before is None:
        return after
    changed: dict[str, Any] = {"id": after.id}
    for field in after.__struct_fields__:
        new = getattr(after, field)
        if new != getattr(before, field):
            changed[field] = new
    return changed
