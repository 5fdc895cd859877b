"""Models that clients have made of others: the same weights with other defaults."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, StrictStr, TypeAdapter, ValidationError

from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest
from server.ollama.names import untagged
from server.ollama.options import Options
from server.ollama.request import Message

MOST_RECIPES = 1024
MOST_BYTES = 16 << 20
"""Of all recipes as JSON."""

logger = logging.getLogger("llamapack")


class Recipe(RequestModel):
    """A model that is made of another one."""

    name: Label
    base: Label
    """The model whose weights answer."""
    system: StrictStr = ""
    """The system message of chats that bring none."""
    template: StrictStr = ""
    """The name of a built-in chat template; "" is the model's own."""
    parameters: Options = Options()
    messages: list[Message] = Field(default_factory=list)
    """What stands before the messages of every chat."""
    license: StrictStr = ""
    modified: float = Field(default_factory=time.time)

    def text(self) -> str:
        """The recipe as JSON."""
        return self.model_dump_json(exclude_unset=True)


_ALL = TypeAdapter(list[Recipe])


@dataclass
class RecipeBook:
    """All recipes of a server, by the names without the tag `latest`. Threads may share it."""

    path: Path | None = None
    """Where the recipes are kept over restarts."""
    _recipes: dict[str, Recipe] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def all(self) -> Sequence[Recipe]:
        """All recipes, in the order of their names."""
        with self._lock:
            return [self._recipes[name] for name in sorted(self._recipes)]

    def get(self, name: str) -> Recipe | None:
        """The recipe of this name, with or without its tag."""
        return self._recipes.get(untagged(name))

    def put(self, recipe: Recipe) -> None:
        """Keep a recipe, instead of an older one of its name. Raises `InvalidRequest`."""
        name = untagged(recipe.name)
        with self._lock:
            recipes = {**self._recipes, name: recipe}
            if len(recipes) > MOST_RECIPES or _size(recipes.values()) > MOST_BYTES:
                raise InvalidRequest(
                    f"'model' is one too many: a server keeps {MOST_RECIPES} made models, of "
                    f"{MOST_BYTES:,} bytes together",
                    param="model",
                )
            self._keep(recipes)

    def remove(self, name: str) -> bool:
        """Forget a recipe. Returns whether there was one."""
        with self._lock:
            if untagged(name) not in self._recipes:
                return False
            self._keep({key: one for key, one in self._recipes.items() if key != untagged(name)})
            return True

    def _keep(self, recipes: dict[str, Recipe]) -> None:
        if self.path is not None:
            text = ",\n".join(recipe.text() for recipe in recipes.values())
            new = self.path.with_name(f"{self.path.name}.new")
            try:
                new.write_text(f"[\n{text}\n]\n", encoding="utf-8")
                os.replace(new, self.path)
            except OSError as error:
                raise InvalidRequest(
                    f"the model can't be kept: {self.path.name}: {error.strerror or error}"
                ) from error
        self._recipes = recipes

    def _read(self, path: Path) -> None:
        try:
            recipes = _ALL.validate_python(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError, InvalidRequest) as error:
            logger.warning("%s is not read, so made models are missing: %s", path, error)
            return
        self._recipes = {untagged(recipe.name): recipe for recipe in recipes}


def _size(recipes: object) -> int:
    assert hasattr(recipes, "__iter__")
    return sum(len(recipe.text()) for recipe in recipes)
