"""`truncation: auto`: the oldest items of a conversation are left out if it is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from server.errors import ContextExceeded
from server.openai.responses.items import Item, MessageItem

_SHARE = 0.75
"""Share of the context that a shortened prompt may fill; the answer needs room too."""

PlanT = TypeVar("PlanT")


def truncated(items: Sequence[Item], plan: Callable[[Sequence[Item]], PlanT]) -> PlanT:
    """The plan of the longest end of a conversation that fits.

    Such an end begins with a message of the user's. Raises `ContextExceeded` if the last one is
    too long by itself.
    """
    while True:
        try:
            return plan(items)
        except ContextExceeded as error:
            shorter = _without_oldest(items, _SHARE * error.n_ctx / error.n_prompt_tokens)
            if not shorter:
                raise
            items = shorter


def _without_oldest(items: Sequence[Item], share: float) -> Sequence[Item]:
    """About this share of the items' text, from their end; nothing if no message may begin it."""
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
    return items[starts[-1] :] if starts and starts[-1] > 0 else ()
