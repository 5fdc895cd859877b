"""The bounds of what a body may ask for, by what it costs: one table for fields, /props and docs.

`python -m server.bodies.bounds` writes the table into docs/api.md. Bounds of single numbers stand
at their fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.table import with_table


@dataclass(frozen=True, slots=True)
class Bound:
    """The most of something that a request may ask for."""

    fields: tuple[str, ...]
    """The fields of bodies that the bound is about."""
    unit: str
    """What is counted."""
    most: int


CHOICES = Bound(("n",), "answers to one prompt", 128)
PROMPTS = Bound(("prompt", "input"), "prompts", 2048)
SEQUENCES = Bound(("prompt", "n"), "answers to all prompts", 1024)
CARRIED = Bound(
    ("prompt", "n", "logit_bias", "stop", "grammar"), "bytes that all answers carry", 32 << 20
)
"""Every answer has a copy of its prompt, biases, constraint and stop strings in the engine, and
repeats them in llama-server's dialect."""
KEPT_LOGPROBS = Bound(
    ("n_probs", "logprobs", "n_predict", "n"), "alternatives in an answer in one piece", 1 << 19
)
"""An answer in one piece is kept until its end; an alternative is some 80 bytes of JSON."""
LOGPROBS = Bound(("n_probs", "logprobs", "top_logprobs"), "alternatives to a token", 256)
STOP_STRINGS = Bound(("stop", "stop_sequences"), "strings", 256)
STOP_CHARS = Bound(("stop", "stop_sequences"), "characters of a string", 4096)
ALL_STOP_CHARS = Bound(("stop", "stop_sequences"), "characters of all strings", 16384)
"""A token costs one comparison for each character, at worst."""
BIASES = Bound(("logit_bias",), "biased tokens", 16384)
BIAS_CHARS = Bound(("logit_bias",), "characters of a text", 1024)
BREAKERS = Bound(("dry_sequence_breakers",), "strings", 32)
BREAKER_CHARS = Bound(("dry_sequence_breakers",), "characters of a string", 64)
ALL_BREAKER_CHARS = Bound(("dry_sequence_breakers",), "characters of all strings", 256)
"""Each character is compared with the end of every token of the vocabulary."""
TRIGGERS = Bound(("grammar_triggers", "preserved_tokens"), "entries", 256)
ALL_TRIGGER_BYTES = Bound(("grammar_triggers",), "bytes of all words", 4096)
"""Each token is compared with all of them."""
TRIGGER_CHARS = Bound(("grammar_triggers", "preserved_tokens"), "characters of a text", 1024)
SAMPLERS = Bound(("samplers", "spec_type"), "names", 64)
RESPONSE_FIELDS = Bound(("response_fields",), "paths", 256)
RESPONSE_FIELD_CHARS = Bound(("response_fields",), "characters of a path", 256)
ADAPTERS = Bound(("lora",), "adapters", 1024)
SALT_CHARS = Bound(("cache_salt",), "characters", 256)
MESSAGES = Bound(("messages", "input"), "messages and items", 16384)
PARTS = Bound(("messages",), "parts of a content", 4096)
CALLS = Bound(("messages",), "tool calls of a message", 1024)
TOOLS = Bound(("tools",), "tools", 1024)
TOOL_NAME_CHARS = Bound(("tools",), "characters of a name", 256)
DOCUMENTS = Bound(("documents",), "documents", 2048)
PDFS = Bound(("messages", "input"), "PDF files that are read", 64)
PDF_PAGES = Bound(("source", "file_data"), "pages of a PDF file", 1000)
PDF_CHARS = Bound(("source", "file_data"), "characters of a PDF file's text", 4 << 20)
VARIABLES = Bound(("chat_template_kwargs",), "variables", 256)
METADATA = Bound(("metadata", "include"), "entries", 256)
BUDGET_CHARS = Bound(("reasoning_budget_message",), "characters", 4096)
LABEL_CHARS = Bound(("model", "user", "name", "id"), "characters", 4096)
EXTRAS = Bound(("input_extra",), "excerpts", 1024)
RANKED = Bound(("documents", "texts"), "texts to rank", 2048)
NUMBERS = Bound(("input",), "numbers of all vectors", 1 << 22)
PIECES = Bound(("with_pieces",), "tokens with their pieces", 1 << 17)
TOKENIZED_CHARS = Bound(("content",), "characters to tokenize", 1 << 20)
DETOKENIZED = Bound(("tokens",), "tokens to join", 1 << 20)
JOINED_BYTES = Bound(("tokens",), "bytes of the text of joined tokens", 16 << 20)
"""One token can stand for hundreds of bytes."""

BOUNDS = tuple(bound for bound in list(globals().values()) if isinstance(bound, Bound))

BEGIN, END = "<!-- bounds:begin -->", "<!-- bounds:end -->"
DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


def bounds_json() -> list[dict[str, Any]]:
    """The table as /props shows it."""
    return [
        {"fields": list(bound.fields), "counted": bound.unit, "most": bound.most}
        for bound in BOUNDS
    ]


def table() -> Iterator[str]:
    """The lines of the table in docs/api.md."""
    yield "| Field | At most | |"
    yield "|---|---|---|"
    for bound in BOUNDS:
        fields = ", ".join(f"`{name}`" for name in bound.fields)
        yield f"| {fields} | {bound.most:,} | {bound.unit} |"


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = "\n".join([*table(), ""])
    DOCUMENT.write_text(with_table(text, lines, BEGIN, END), encoding="utf-8")
