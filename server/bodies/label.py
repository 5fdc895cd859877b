"""Short texts in bodies: names, ids and words that no answer is made from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictStr

from server.bodies.bounds import LABEL_CHARS

Label = Annotated[StrictStr, Field(max_length=LABEL_CHARS.most)]
