"""vLLM's field `structured_outputs`: a schema, an expression, choices or a grammar."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictStr, model_validator

from grammars.limits import MAX_CHOICES
from server.bodies.request_model import RequestModel
from server.structured_output.output_format import Kind, OutputFormat, any_object_format

_KINDS = {
    "json": Kind.JSON_SCHEMA,
    "json_object": Kind.JSON_OBJECT,
    "regex": Kind.REGEX,
    "choice": Kind.CHOICE,
    "grammar": Kind.GRAMMAR,
}


class StructuredOutputs(RequestModel):
    """The field's object. It holds exactly one kind of constraint."""

    json_: Any = Field(None, alias="json")
    json_object: StrictBool | None = None
    regex: StrictStr | None = None
    choice: Annotated[list[StrictStr], Field(max_length=MAX_CHOICES)] | None = None
    grammar: StrictStr | None = None
    structural_tag: Any = None

    @model_validator(mode="after")
    def _is_one(self) -> StructuredOutputs:
        if self.structural_tag is not None:
            raise ValueError("must come without structural_tag, which is not supported")
        if len(self._given()) != 1:
            raise ValueError(f"must hold exactly one of {', '.join(_KINDS)}")
        return self

    def output_format(self) -> OutputFormat:
        """The constraint that the field holds."""
        [(name, value)] = self._given().items()
        param = f"structured_outputs.{name}"
        if value is True:
            return any_object_format(param)
        if value is False:
            # `json_object: false` holds no constraint. The empty grammar is refused when compiled.
            return OutputFormat(Kind.GRAMMAR, "", param)
        return OutputFormat(_KINDS[name], value, param)

    def _given(self) -> dict[str, Any]:
        values = {name: getattr(self, "json_" if name == "json" else name) for name in _KINDS}
        return {name: value for name, value in values.items() if value is not None}
