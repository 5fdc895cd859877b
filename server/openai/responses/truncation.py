"""`truncation: auto`: the oldest items of a conversation are left out if it is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from server.openai.responses.items import Item, MessageItem
from server.requests.shorten import shortened_to_fit

PlanT = TypeVar("PlanT")


def truncated(items: Sequence[Item], plan: Callable[[Sequence[Item]], PlanT]) -> PlanT:
    """The plan of the longest end of a conversation that fits.

    Such an end begins with a message of the user's. Raises `ContextExceeded` if the last one is
    too long by itself.
    """
    return shortened_to_fit(items, plan, _without_oldest)


def _without_oldest(items: Sequence[Item], share: float) -> Sequence[Item] | None:
    """About this share of the items' text, from their end; None if no message may begin it."""
    sizes = [len(item.model_dump_json()) for item in items]
    left, limit = sum(sizes), share * sum(sizes)
    for index, (item, size) in enumerate(zip(items, sizes, strict=True)):
        is_begin = isinstance(item, MessageItem) and item.role == "user"
        if index and is_begin and left <= limit:
            return items[index:]
        left -= size
    starts = [
        i for i, item in enumerate(items) if isinstance(item, MessageItem) and item.role == "user"
    ]
    return items[starts[-1] :] if starts and starts[-1] > 0 else None
