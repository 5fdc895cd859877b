"""A server without a model: a vocabulary of bytes, a scripted generator and a fake engine."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from config import ServeSettings
from protocol.blocks import Medium
from protocol.commands import LoraSet, SequenceSpec
from protocol.events import TokenLogprobs
from protocol.messages import (
    AdapterInfo,
    BlockReport,
    EmbeddingInfo,
    ModelInfo,
    SlotChanged,
    SlotRefusal,
    SlotRefused,
    SlotReport,
    SlotState,
)
from server.access.key_ring import KeyRing, read_keys
from server.context import ServerContext
from server.engine.history import SequenceHistory
from server.engine.slot_refusals import refused_slot
from server.errors import ApiError, ContextExceeded, Unavailable
from server.generation.content_places import ContentTokens
from server.generation.content_reader import ContentReader
from server.generation.observed_generator import ObservedGenerator
from server.generation.types import (
    EmbeddingItem,
    Ended,
    GeneratedToken,
    GenerationRequest,
    Item,
    Progress,
    StopCause,
    TextDelta,
    Timings,
)
from server.model.adapters import AdapterScales
from server.model.tokenizer import Tokenizer
from server.observability.answer_metrics import AnswerMetrics
from server.observability.metrics import ServerMetrics
from server.templates.chat_template import ChatTemplate

BOS = 256
EOS = 257
END_OF_TURN = 258
N_CTX_SLOT = 128
MODEL_NAME = "fake-model"

_SPECIAL = {BOS: b"<s>", EOS: b"</s>", END_OF_TURN: b"<eot>"}


class ByteTokenizer(Tokenizer):
    """Every byte is a token, and three control tokens follow."""

    n_vocab = 259
    bos: int | None = BOS
    eos: int | None = EOS
    end_tokens = frozenset((EOS, END_OF_TURN))
    longest_piece = 5

    def metadata(self, key: str) -> str | None:
        values = {
            "general.architecture": "llama",
            "tokenizer.ggml.model": "gpt2",
            "llama.context_length": "4096",
            "llama.embedding_length": "64",
        }
        return values.get(key)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokens = [BOS] if add_special else []
        if parse_special and text.startswith("<s>"):
            tokens.append(BOS)
            text = text.removeprefix("<s>")
        return tokens + list(text.encode())

    def join_pair(self, first: list[int], second: list[int]) -> list[int]:
        return [BOS, *first, EOS, *second, EOS]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token in _SPECIAL:
            return _SPECIAL[token] if special else b""
        return bytes([token])


class _DeltaReader:
    """Makes the deltas of one answer, with the events of the request's parser."""

    def __init__(self, request: GenerationRequest) -> None:
        self._reader = ContentReader(request.make_parser()) if request.make_parser else None
        self._tokens = ContentTokens()

    def delta(self, token: GeneratedToken, timings: Timings) -> TextDelta:
        text = token.piece.decode()
        if self._reader is None:
            return TextDelta(text, (token,), 1, timings)
        start = self._reader.num_received
        read = self._reader.feed(token.piece)
        self._tokens.add(token, start, self._reader.num_received)
        content = tuple(self._tokens.take(read.content))
        return TextDelta(text, (token,), 1, timings, read.events, content)

    def last(self, timings: Timings) -> TextDelta | None:
        if self._reader is None:
            return None
        read = self._reader.finish()
        content = tuple(self._tokens.take(read.content))
        return TextDelta("", (), 1, timings, read.events, content) if read.events else None


@dataclass
class ScriptedGenerator:
    """Answers every prompt with `pieces`, one token each, and records its requests."""

    pieces: Sequence[str] = ("Hello", ",", " world", "\n")
    cached: int = 2
    delay: float = 0.0
    """Seconds before each piece."""
    queued: float = 0.0
    """Seconds before the first piece."""
    fail_on_open: ApiError | None = None
    fail_after: tuple[int, Exception] | None = None
    """A number of pieces, and the error that follows them."""
    cause: StopCause = StopCause.EOS
    draft_n: int = 0
    """Draft tokens for each token of the answer; one of them was accepted."""
    opened: list[GenerationRequest] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    aborted: int = 0
    engine: FakeEngine | None = None

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncIterator[AsyncIterator[Item]]:
        if self.engine is not None:
            _ = self.engine.model
        if self.fail_on_open is not None:
            raise self.fail_on_open
        if len(request.spec.prompt) >= N_CTX_SLOT:
            raise ContextExceeded(len(request.spec.prompt), N_CTX_SLOT)
        self.opened.append(request)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        finished: list[bool] = []
        try:
            yield self._items(request, finished)
        finally:
            self.running -= 1
            self.aborted += not finished

    async def _items(self, request: GenerationRequest, finished: list[bool]) -> AsyncIterator[Item]:
        n_prompt = len(request.spec.prompt)
        await asyncio.sleep(self.queued)
        if request.spec.embedding:
            if self.fail_after is not None:
                raise self.fail_after[1]
            yield self._embedding(request)
            finished.append(True)
            yield Ended(
                StopCause.EOS, "", None, False, 1, n_prompt, n_prompt, self._timings(n_prompt, 0)
            )
            return
        if request.spec.report_progress:
            yield Progress(n_prompt, self.cached, n_prompt // 2, 5.0)
            yield Progress(n_prompt, self.cached, n_prompt, 10.0)
        pieces = self.pieces
        cause, word = self.cause, ""
        if 0 <= request.spec.max_tokens < len(pieces):
            pieces, cause = pieces[: request.spec.max_tokens], StopCause.LIMIT
        count = 0
        reader = _DeltaReader(request)
        for piece in pieces:
            if self.fail_after is not None and count == self.fail_after[0]:
                raise self.fail_after[1]
            if piece in request.stop:
                cause, word = StopCause.WORD, piece
                break
            await asyncio.sleep(self.delay)
            count += 1
            token = GeneratedToken(ord(piece[-1]) % 256, piece.encode(), self._logprobs(request))
            yield reader.delta(token, self._timings(n_prompt, count))
        if last := reader.last(self._timings(n_prompt, count)):
            yield last
        finished.append(True)
        yield Ended(
            cause,
            word,
            None,
            False,
            1,
            n_prompt,
            n_prompt + max(count - 1, 0),
            self._timings(n_prompt, count),
        )

    def _embedding(self, request: GenerationRequest) -> EmbeddingItem:
        """One vector of four floats for each token, or the sum of all these vectors."""
        assert self.engine is not None
        assert self.engine.embedding is not None
        rows = [[token, 1.0, 0.0, -1.0] for token in request.spec.prompt]
        if self.engine.embedding.pooling != "none":
            rows = [[sum(column) for column in zip(*rows, strict=True)]]
        return EmbeddingItem(array("f", [value for row in rows for value in row]).tobytes())

    def _timings(self, n_prompt: int, count: int) -> Timings:
        drafted, accepted = self.draft_n * count, count if self.draft_n else 0
        computed = n_prompt - self.cached
        return Timings(self.cached, computed, 10.0, count, 5.0 * count, drafted, accepted)

    def _logprobs(self, request: GenerationRequest) -> TokenLogprobs | None:
        wanted = request.spec.sampling.top_logprobs
        if wanted < 0:
            return None
        top = [(ord("a") + rank, -1.0 - rank) for rank in range(min(wanted, 159))]
        return TokenLogprobs(-0.5, top)


@dataclass
class FakeEngine:
    """An engine whose state the test sets."""

    loaded: bool = True
    is_ready: bool = True
    heartbeat_age: float | None = 0.1
    outage: str = ""
    busy: int = 0
    num_sequences: int = 0
    changed: list[tuple[str, int, str]] = field(default_factory=list)
    """The actions on slots, with the paths of their files."""
    salts: list[str] = field(default_factory=list)
    """The salts that came with exports and restores."""
    slot_refusal: SlotRefusal | None = None
    thinking_ended: list[tuple[str, str]] = field(default_factory=list)
    """The names and tenants of the answers whose thinking was to end."""
    control_refusal: str = ""
    adapters: tuple[AdapterInfo, ...] = ()
    known_specs: dict[int, SequenceSpec] = field(default_factory=dict)
    """What the sequences of busy slots compute, by id: 100 in the first slot, and so on."""
    embedding: EmbeddingInfo | None = None
    past: list[SequenceHistory] = field(default_factory=list)
    num_questions: int = 0
    """How often the slots were asked for."""

    @property
    def model(self) -> ModelInfo:
        if not self.loaded:
            raise Unavailable("Loading model")
        return ModelInfo(
            n_ctx=4 * N_CTX_SLOT,
            n_ctx_slot=N_CTX_SLOT,
            n_slots=4,
            n_vocab=259,
            n_params=1000,
            size_bytes=2000,
            description="fake 1K F16",
            file_type="F16",
            system_info="",
            can_trim=True,
            can_shift=True,
            cell_bytes=512,
            adapters=self.adapters,
            embedding=self.embedding,
        )

    def specs(self) -> dict[int, SequenceSpec]:
        return dict(self.known_specs)

    async def end_thinking(self, name: str, tenant: str) -> str:
        self.thinking_ended.append((name, tenant))
        return self.control_refusal

    def lora_sets(self, *, are_running: bool) -> set[LoraSet]:
        return {spec.lora for spec in self.known_specs.values()} if are_running else set()

    async def inspect_blocks(self) -> BlockReport:
        _ = self.model
        return BlockReport(query_id=1, held={Medium.GPU: [2**64 - 1, 5], Medium.CPU: []})

    def histories(self) -> list[SequenceHistory]:
        return list(self.past)

    async def inspect(self, max_nodes: int = 0) -> SlotReport:
        _ = self.model
        self.num_questions += 1
        slots = [self._slot(number) for number in range(4)]
        return SlotReport(query_id=1, slots=slots, num_waiting=0)

    async def save_slot(self, slot: int, path: str) -> SlotChanged:
        return self._changed("save", slot, path)

    async def export_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        self.salts.append(cache_salt)
        return self._changed("export", slot, path)

    async def restore_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        self.salts.append(cache_salt)
        return self._changed("restore", slot, path)

    async def erase_slot(self, slot: int) -> SlotChanged:
        return self._changed("erase", slot, "")

    def _changed(self, action: str, slot: int, path: str) -> SlotChanged:
        self.changed.append((action, slot, path))
        if self.slot_refusal is not None:
            raise refused_slot(SlotRefused(1, self.slot_refusal, "the engine says no"))
        return SlotChanged(1, num_tokens=12, num_bytes=3456, seconds=0.25)

    def _slot(self, number: int) -> SlotState:
        if number >= self.busy:
            return SlotState(slot=number, num_cache_tokens=0)
        return SlotState(
            slot=number,
            num_cache_tokens=12,
            request_id=number + 100,
            num_prompt_tokens=10,
            num_prompt_tokens_computed=7,
            num_cached_tokens=3,
            num_generated_tokens=2,
        )


@dataclass
class FakeServer:
    """A server on fakes, and the fakes that a test sets and reads."""

    context: ServerContext
    generator: ScriptedGenerator
    engine: FakeEngine


def key_ring(*keys: str) -> KeyRing:
    """Unnamed keys, as `--api-key` makes them."""
    return KeyRing(read_keys(ServeSettings(api_key=keys)), time.monotonic())


def make_server(
    settings: ServeSettings | None = None, generator: ScriptedGenerator | None = None
) -> FakeServer:
    """A context on the fakes, with metrics as in production."""
    settings = settings or ServeSettings()
    generator = generator or ScriptedGenerator()
    engine = generator.engine = FakeEngine()
    files = [*settings.lora, *(path for path, _ in settings.lora_scaled)]
    engine.adapters = tuple(AdapterInfo(path=str(f), digest=f"of {f.name}") for f in files)
    metrics = ServerMetrics(MODEL_NAME)
    context = ServerContext(
        settings=settings,
        model_name=MODEL_NAME,
        model_path="/models/fake.gguf",
        tokenizer=ByteTokenizer(),
        generator=ObservedGenerator(generator, [partial(AnswerMetrics, metrics)]),
        engine=engine,
        metrics=metrics,
        chat_template=ChatTemplate(),
        adapter_scales=AdapterScales.of(settings),
    )
    return FakeServer(context, generator, engine)
