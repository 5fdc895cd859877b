"""What an application has once, for all its requests: made by `create_app`, typed, frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import HTTPConnection

if TYPE_CHECKING:  # these stand above this file, and use it
    from server.catalog.model_fit import FitDesk
    from server.catalog.pulls import Pulls
    from server.context import SharedContext
    from server.errors import ApiError
    from server.ollama.recipes import RecipeBook
    from server.openai.responses.background import Backgrounds
    from server.openai.responses.store import ResponseStore
    from server.pool.interface import ModelPool
    from server.room.room import Room
    from server.store.background import Downloads


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """The parts that handlers work with."""

    context: SharedContext
    pool: ModelPool
    downloads: Downloads
    """Downloads of models that run."""
    pulls: Pulls
    """Who waits for these downloads, and what became of them."""
    fit_desk: FitDesk
    """Plans the memory of models for clients that ask."""
    responses: ResponseStore
    """What clients of the Responses API had stored."""
    backgrounds: Backgrounds
    """Responses that are made while nobody waits."""
    recipes: RecipeBook
    """The models that clients of Ollama's API have made."""
    room: Room
    """Shows the server at work."""
    error_frame: Callable[[str, ApiError], bytes]
    """The event for an error in a stream that has no other event yet. Takes the request's path."""


def state_of(of: HTTPConnection | Starlette) -> AppState:
    """The parts of an application, or of the one that handles a request."""
    app = of if isinstance(of, Starlette) else of.app
    state: AppState = app.state.parts
    return state


def keep_state(app: Starlette, state: AppState) -> None:
    """Give an application its parts."""
    app.state.parts = state
