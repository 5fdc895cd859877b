"""`POST /infill`: fills in the middle of a text, for editors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from server.bodies.bounds import EXTRAS
from server.bodies.few import few
from server.bodies.request_model import RequestModel
from server.context import ServerContext
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.completions import complete
from server.requests.infill import InfillRoom, extra_tokens, fim_tokens, infill_prompt
from server.requests.prompts import OnePromptInput, Prompt, parse_prompt, split_parts


class FileExcerpt(RequestModel):
    """A piece of another file, or of another place in the file."""

    text: StrictStr
    filename: StrictStr = "tmp"


def _parse_line(value: Any) -> tuple[Prompt, ...]:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return ((value,),)


_Text = Annotated[Prompt, BeforeValidator(parse_prompt, json_schema_input_type=OnePromptInput)]


class InfillRequest(CompletionRequest):
    """llama-server's names and meanings: what stands between `input_prefix` and `input_suffix`?

    `prompt` is what the line of the cursor holds before the cursor.
    """

    input_prefix: _Text
    input_suffix: _Text
    input_extra: Annotated[tuple[FileExcerpt, ...], Field(max_length=EXTRAS.most), few(EXTRAS)] = ()
    prompt: Annotated[
        tuple[Prompt, ...], BeforeValidator(_parse_line, json_schema_input_type=str)
    ] = Field((("",),), json_schema_extra={"default": ""})

    def _prompts(self, context: ServerContext) -> Iterable[Sequence[int]]:
        tokenizer, settings = context.tokenizer, context.settings
        fim_tokens(tokenizer)  # refused before anything is split
        split = partial(split_parts, tokenizer=tokenizer, add_special=False)
        n_ctx = context.engine.model.n_ctx_slot
        room = InfillRoom.of(n_ctx, settings.batch_size, settings.n_predict)
        line = split(self.prompt[0], param="prompt", parse_special=True)
        prefix = split(self.input_prefix, param="input_prefix", parse_special=False)
        suffix = split(self.input_suffix, param="input_suffix", parse_special=False)
        files = [(excerpt.filename, excerpt.text) for excerpt in self.input_extra]
        yield extra_tokens(files, tokenizer, room.extra) + infill_prompt(
            prefix[-room.prefix :] + line,
            suffix[: max(room.suffix - len(line), 0)],
            tokenizer,
            suffix_first=settings.spm_infill,
        )


async def create_infill(request: Request) -> Response:
    """Fill in the middle. The answer is that of a completion."""
    return await complete(request, InfillRequest)
