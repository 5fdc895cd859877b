"""The endpoint of the machine room."""

from __future__ import annotations

from server.endpoints import EVENTS, get
from server.room.events import get_events

ENDPOINTS = (get(get_events, "/v1/events", media=(EVENTS,)),)
