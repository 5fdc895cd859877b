"""What the engine's refusal to change a slot means to the client."""

from __future__ import annotations

from protocol.messages import SlotRefusal, SlotRefused
from server.errors import ApiError, EngineFailed, InvalidRequest, NotFound


def refused_slot(refused: SlotRefused) -> ApiError:
    """The error to raise."""
    if refused.reason is SlotRefusal.NO_SUCH_SLOT:
        return NotFound(refused.message)
    if refused.reason is SlotRefusal.FAILED:
        return EngineFailed(refused.message)
    is_file = refused.reason is SlotRefusal.BAD_FILE
    return InvalidRequest(refused.message, param="filename" if is_file else None)
