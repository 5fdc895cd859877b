"""Turns the engine's refusal to change a slot into an error for the client."""

from __future__ import annotations

from protocol.messages import SlotRefusal, SlotRefused
from server.errors import ApiError, EngineFailed, InvalidRequest, NotFound


def refused_slot(refused: SlotRefused) -> ApiError:
    """The error to raise."""
    match refused.reason:
        case SlotRefusal.NO_SUCH_SLOT:
            return NotFound(refused.message)
        case SlotRefusal.FAILED:
            return EngineFailed(refused.message)
        case SlotRefusal.BAD_FILE:
            return InvalidRequest(refused.message, param="filename")
        case SlotRefusal.BUSY:
            return InvalidRequest(refused.message)
