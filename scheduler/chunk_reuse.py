"""What of a slot's cells can be moved to where a prompt has the same tokens, after an edit.

    slot:   | prefix | old | chunk ......... | other |
    prompt: | prefix | chunk ......... | new |

The chunk's cells move forward over what is gone. They were computed after other tokens, so this
is an approximation, and only done for those who ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.prefix_index import common_prefix_length


@dataclass(frozen=True, slots=True)
class Reuse:
    """Drop `gaps`, one after the other, and `length` tokens of the prompt are in the cells."""

    gaps: tuple[tuple[int, int], ...]
    """Ranges of positions, each as it is after the gaps before it were closed."""
    length: int


def find_chunks(held: list[int], tokens: list[int], prefix: int, shortest: int) -> Reuse:
    """Chunks of at least `shortest` tokens that `held` has in the order of `tokens`.

    The first `prefix` tokens are equal; the last of `tokens` is never reused, because its logits
    are needed.
    """
    held = list(held)
    gaps: list[tuple[int, int]] = []
    done = at = prefix
    limit = len(tokens) - 1
    while at + shortest <= len(held) and done + shortest <= limit:
        if held[at : at + shortest] != tokens[done : done + shortest]:
            at += 1
            continue
        if at > done:
            gaps.append((done, at))
            del held[done:at]
        rest, wanted = held[done:], tokens[done:limit]
        done += common_prefix_length(wanted, rest, min(len(wanted), len(rest)))
        at = done
    return Reuse(tuple(gaps), done)
