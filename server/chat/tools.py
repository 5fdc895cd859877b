"""The fields `tools` and `tool_choice`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from server.bodies.bounds import TOOL_NAME_CHARS
from server.bodies.label import Label
from server.bodies.request_model import RequestModel


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", name):
        raise ValueError("must consist of letters, digits, '_', '-' and '.'")
    return name


Name = Annotated[StrictStr, Field(max_length=TOOL_NAME_CHARS.most), AfterValidator(_name)]


class Function(RequestModel):
    """A function's purpose, and the JSON Schema of its arguments."""

    name: Name
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None
    """Whether a schema that can't be enforced is refused. Otherwise such a part is left to the
    model."""


class Tool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"]
    function: Function

    def to_template(self) -> dict[str, Any]:
        """The tool in the form that chat templates read, with every key that they expect."""
        parameters = self.function.parameters or {"type": "object", "properties": {}}
        function = {
            "name": self.function.name,
            "description": self.function.description or "",
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


class NamedFunction(RequestModel):
    """A function by its name."""

    name: Label


class NamedChoice(RequestModel):
    """The answer must call this function."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice
