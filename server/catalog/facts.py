"""What is known of a served model: what its file says, and what the loaded model adds."""

from __future__ import annotations

import atexit
import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from anyio import to_thread

from server.context import ServerContext
from server.errors import Unavailable
from server.model.gguf_contents import GgufContents
from server.model.gguf_header import GgufError
from server.model.inspection import Inspector
from server.model.split_name import files_of
from server.model.tokenizer import Tokenizer
from server.parsers.reasoning import detect_markers
from server.pool.interface import ModelPool, ModelState, ServedModel

UNKNOWN = "unknown"
"""The file type of a model whose file names none."""

_FIM_KEYS = (
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.prefix_token_id",
)
_ENCODERS = frozenset({"bert", "nomic-bert", "jina-bert-v2", "neo-bert", "modern-bert"})
"""Architectures that only embed, also where the file names no pooling."""

_IDLE_SECONDS = 10.0

_DIGEST = re.compile(r"(?:sha256-)?([0-9a-f]{64})")
"""The name of a file in the cache of Hugging Face, or of Ollama."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model, loaded or not. Unknown texts are empty, unknown numbers 0."""

    name: str
    architecture: str = ""
    file_type: str = UNKNOWN
    num_parameters: int = 0
    size_label: str = ""
    """The number of parameters as the file says it, such as 135M."""
    size_bytes: int = 0
    """Of all files of the model."""
    modified: float = 0.0
    """Unix time."""
    digest: str = ""
    """64 hexadecimal digits: the SHA-256 of the file where its name tells it. Otherwise they only
    tell files apart."""
    context_length: int = 0
    """Tokens that the model was trained with."""
    embedding_length: int = 0
    can_generate: bool = True
    can_embed: bool = False
    has_tools: bool = False
    """Whether the chat template writes definitions of tools, or calls."""
    can_think: bool = False
    can_insert: bool = False
    template: str = ""
    license: str = ""
    metadata: Mapping[str, object]
    """Numbers and short texts of the file, without lists."""
    n_ctx: int = 0
    """Tokens of a slot, while the model is loaded."""

    @property
    def size_text(self) -> str:
        """The number of parameters, for people."""
        return human_number(self.num_parameters) if self.num_parameters else self.size_label


async def facts_of(
    pool: ModelPool, models: Sequence[ServedModel]
) -> list[tuple[ServedModel, ModelFacts]]:
    """The models with all that is known of each."""
    contexts = [pool.loaded(served.name) for served in models]
    facts = await to_thread.run_sync(lambda: [*map(_facts, models, contexts)])
    return [*zip(models, facts, strict=True)]


async def facts_of_one(pool: ModelPool, served: ServedModel) -> ModelFacts:
    """All that is known of a model."""
    [(_, facts)] = await facts_of(pool, [served])
    return facts


def _facts(served: ServedModel, context: ServerContext | None) -> ModelFacts:
    """Reads the model's file, so it must not run on the event loop."""
    facts = _of_file(served.name, served.path)
    if context is None or served.state is not ModelState.LOADED:
        return facts
    try:
        return _of_loaded(facts, context)
    except Unavailable:
        return facts


def human_number(number: int) -> str:
    """A number as Ollama writes it: 135M, 1.5B."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if number >= size:
            return f"{number / size:.{0 if number % size == 0 else digits}f}{unit}"
    return str(number)


def _of_loaded(facts: ModelFacts, context: ServerContext) -> ModelFacts:
    """The facts with what only the loaded model knows. Raises `Unavailable`."""
    model, template = context.engine.model, context.chat_template
    tokenizer = context.tokenizer
    architecture = facts.architecture or tokenizer.metadata("general.architecture") or ""
    with_tools = template.for_tools(True)
    return replace(
        facts,
        architecture=architecture,
        file_type=model.file_type if facts.file_type == UNKNOWN else facts.file_type,
        num_parameters=model.n_params,
        size_bytes=facts.size_bytes or model.size_bytes,
        modified=facts.modified or float(context.created),
        context_length=facts.context_length
        or whole_metadata(tokenizer, f"{architecture}.context_length"),
        embedding_length=facts.embedding_length
        or whole_metadata(tokenizer, f"{architecture}.embedding_length"),
        can_generate=model.can_generate,
        can_embed=model.embedding is not None,
        has_tools=with_tools.capabilities.tools or with_tools.capabilities.tool_calls,
        can_think=with_tools.thinking_markers is not None,
        can_insert=tokenizer.fim is not None,
        template=template.source,
        metadata=facts.metadata or {"general.architecture": architecture},
        n_ctx=model.n_ctx_slot,
    )


def _of_file(name: str, path: str) -> ModelFacts:
    file = Path(path)
    try:
        stat = file.stat()
        sizes = [part.stat().st_size for part in files_of(file)]
    except OSError:
        return ModelFacts(name=name, digest=_identity(path, 0), metadata={})
    contents = _contents(path, stat.st_size, stat.st_mtime_ns)
    identity = _digest(file) or _identity(path, stat.st_mtime_ns)
    facts = ModelFacts(
        name=name,
        size_bytes=sum(sizes),
        modified=stat.st_mtime,
        digest=identity,
        metadata={},
    )
    return facts if contents is None else _with_contents(facts, contents)


def _with_contents(facts: ModelFacts, contents: GgufContents) -> ModelFacts:
    architecture, template = contents.architecture, contents.template or ""
    only_embeds = contents.number("pooling_type") is not None or architecture in _ENCODERS
    is_split = contents.metadata.get("split.count") not in (None, 0, 1)
    return replace(
        facts,
        architecture=architecture,
        file_type=contents.file_type or UNKNOWN,
        # Of a split model, the first file has some of the tensors.
        num_parameters=0 if is_split else contents.parameters,
        size_label=contents.text("general.size_label"),
        context_length=contents.number("context_length") or 0,
        embedding_length=contents.number("embedding_length") or 0,
        can_generate=not only_embeds,
        can_embed=only_embeds,
        has_tools="tools" in template or contents.tool_template is not None,
        can_think=detect_markers(template) is not None,
        can_insert=any(key in contents.metadata for key in _FIM_KEYS),
        template=template,
        license=contents.text("general.license"),
        metadata=contents.metadata,
    )


_MOST_KNOWN = 4096
"""Files whose contents are remembered."""


class _Reader:
    """Reads files in a confined process, which ends when nobody has asked for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inspector = Inspector()
        self._end: threading.Timer | None = None
        self._known = lru_cache(maxsize=_MOST_KNOWN)(self._read)

    def contents(self, path: str, size: int, modified: int) -> GgufContents | None:
        """The contents of a file of this size and time; None if it can't be read.

        Of many threads that ask for the same at once, one reads.
        """
        with self._lock:
            return self._known(path, size, modified)

    def _read(self, path: str, size: int, modified: int) -> GgufContents | None:
        """Read a file. The lock is held."""
        if self._end is not None:
            self._end.cancel()
        try:
            return self._inspector.contents(Path(path))
        except GgufError:
            return None
        finally:
            self._end = threading.Timer(_IDLE_SECONDS, self.close)
            self._end.daemon = True
            self._end.start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._inspector.close()


_reader = _Reader()
atexit.register(_reader.close)


@lru_cache(maxsize=_MOST_KNOWN)
def _contents(path: str, size: int, modified: int) -> GgufContents | None:
    """The contents of a file of this size and time; None if it can't be read."""
    return _reader.contents(path, size, modified)


def _digest(file: Path) -> str:
    """The checksum that the file's own name in a cache tells; "" for other names."""
    found = _DIGEST.fullmatch(file.resolve().name)
    return found[1] if found else ""


def _identity(path: str, modified: int) -> str:
    return hashlib.sha256(f"{path}\0{modified}".encode()).hexdigest()


def trained_context(tokenizer: Tokenizer) -> int:
    """Tokens of context that the model was trained for; 0 if its file doesn't say."""
    architecture = tokenizer.metadata("general.architecture") or ""
    return whole_metadata(tokenizer, f"{architecture}.context_length")


def whole_metadata(tokenizer: Tokenizer, key: str) -> int:
    """A whole number of the model's metadata; 0 if there is none."""
    text = tokenizer.metadata(key) or ""
    return int(text) if text.isdecimal() and len(text) < 20 else 0
