"""`POST /rerank`: how well documents answer a query, in Jina's or TEI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictStr
from starlette.requests import Request
from starlette.responses import Response

from server.bodies.bounds import RANKED
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.context import ServerContext, context_of
from server.errors import InvalidRequest, NotSupported
from server.generation.types import MAX_PRIORITY, GenerationRequest
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.model.guarded_tokenizer import texts_of
from server.pooling.compute import EmbeddedPrompt, check_length, embed_all
from server.pooling.sequence import embedding_sequence
from server.requests.body import read_body
from server.requests.carried import CarriedBytes
from server.requests.field_types import INT32_MAX, Flag, Salt, Whole
from server.requests.model_name import check_model
from server.requests.threads import in_thread

TEMPLATE = "tokenizer.chat_template.rerank"
"""The key of the GGUF's metadata that says how to join query and document."""

_MAX_CHARS = 32 << 20
"""Maximum length of an input; a template may repeat the document."""


def _texts(value: Any) -> Any:
    """The texts of a list of texts or of objects with a text."""
    if not isinstance(value, list) or not all(_is_document(one) for one in value):
        raise ValueError("must be a list of texts")
    return [one if isinstance(one, str) else one["text"] for one in value]


def _is_document(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, dict) and isinstance(value.get("text"), str)
    )


Documents = Annotated[
    list[str],
    BeforeValidator(_texts, json_schema_input_type=list[str | dict[str, str]]),
    Field(min_length=1, max_length=RANKED.most),
]


class RerankRequest(RequestModel):
    """`POST /rerank`. Documents come as `documents`, or as `texts` for an answer in TEI's shape."""

    query: StrictStr
    documents: Documents | None = None
    texts: Documents | None = None
    model: Label | None = None
    top_n: Annotated[Whole, Field(ge=1, le=INT32_MAX)] | None = None
    return_documents: Flag = False
    """In Jina's shape, give each document back with its score."""
    return_text: Flag = False
    """In TEI's shape, give each text back with its score."""
    cache_salt: Salt = ""
    priority: Annotated[Whole, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0

    @property
    def candidates(self) -> list[str]:
        """The documents. Raises `InvalidRequest` unless one of `documents` and `texts` is given."""
        if (self.documents is None) == (self.texts is None):
            problem = "is required" if self.documents is None else "and 'texts' are the same"
            raise InvalidRequest(f"'documents' {problem}", param="documents")
        return self.documents or self.texts or []

    def sequences(self, context: ServerContext) -> list[GenerationRequest]:
        """One request for each document. Tokenizes, so it must not run on the event loop.

        Raises `NotFound`, `InvalidRequest` and `Unavailable`.
        """
        check_model(self.model, context)
        info = context.engine.model.embedding
        assert info is not None
        name = "documents" if self.texts is None else "texts"
        carried = CarriedBytes()
        sequences = []
        for index, document in enumerate(self.candidates):
            param = f"{name}.{index}"
            with texts_of(param):
                tokens = _pair(context, self.query, document)
            check_length(len(tokens), info, param=param)
            if not tokens:
                raise InvalidRequest(f"'{param}' and 'query' must not both be empty", param=param)
            carried.add_prompt(len(tokens), param=name)
            sequences.append(
                embedding_sequence(
                    context, tokens, cache_salt=self.cache_salt, priority=self.priority
                )
            )
        return sequences


async def rerank(request: Request) -> Response:
    """Score documents by how well they answer a query, the best first."""
    context = context_of(request)
    info = context.engine.model.embedding
    if info is None or info.pooling != "rank":
        raise NotSupported("this server was started without --reranking")
    body = await read_body(request, RerankRequest)
    sequences = await in_thread(request, body.sequences, context)
    scored = await while_connected(request.receive, embed_all(context, sequences))
    if body.texts is not None:
        return JsonResponse(_results(body, scored, "score", with_text=body.return_text))
    count = sum(one.num_tokens for one in scored)
    results = _results(body, scored, "relevance_score", with_text=False)
    if body.return_documents:
        for entry in results:
            entry["document"] = {"text": body.candidates[entry["index"]]}
    usage = {"prompt_tokens": count, "total_tokens": count}
    answer = {"object": "list", "model": context.model_name, "usage": usage, "results": results}
    return JsonResponse(answer)


def _pair(context: ServerContext, query: str, document: str) -> tuple[int, ...]:
    """One input out of two texts, in the form of the model's template or vocabulary.

    Raises `InvalidRequest` if the template makes the input too long.
    """
    tokenizer = context.tokenizer
    template = tokenizer.metadata(TEMPLATE)
    if template is None:
        parts = (
            tokenizer.tokenize(text, add_special=False, parse_special=False)
            for text in (query, document)
        )
        return tuple(tokenizer.join_pair(*parts))
    length = len(template) + len(query) + template.count("{document}") * len(document)
    if length > _MAX_CHARS:
        raise InvalidRequest(
            f"the model's rerank template makes {length:,} characters of these texts; "
            f"the limit is {_MAX_CHARS:,}"
        )
    before, _, after = template.partition("{query}")  # the query may spell {document}
    text = before.replace("{document}", document) + query + after.replace("{document}", document)
    return tuple(tokenizer.tokenize(text, add_special=False, parse_special=True))


def _results(
    body: RerankRequest, scored: Sequence[EmbeddedPrompt], label: str, *, with_text: bool
) -> list[dict[str, Any]]:
    """The best result first; of equal results, the earlier document first."""
    scores = [float(one.vectors[0][0]) for one in scored]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results: list[dict[str, Any]] = []
    for index in order[: body.top_n]:
        entry: dict[str, Any] = {"index": index, label: scores[index]}
        if with_text:
            entry["text"] = body.candidates[index]
        results.append(entry)
    return results
