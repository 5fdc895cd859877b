"""Embeddings and reranking."""

from typing import Annotated, Literal

from pydantic import Field

from config.groups.field_types import SettingsGroup, Switch, Whole
from config.option import Group, Option


class EmbeddingSettings(SettingsGroup):
    """Embeddings and reranking."""

    embeddings: Annotated[
        Switch,
        Option(
            ("--embedding", "--embeddings"),
            Group.EMBEDDING,
            "serve embeddings; a model that generates text serves both",
        ),
    ] = False
    pooling: Annotated[
        Literal["none", "mean", "cls", "last", "rank"] | None,
        Option(
            ("--pooling",),
            Group.EMBEDDING,
            "how the outputs of a text become one vector; with a decoder, only last allows texts "
            "longer than --ubatch-size and reuses the KV cache",
            metavar="WAY",
            default_text="from the model",
        ),
    ] = None
    reranking: Annotated[
        Switch,
        Option(
            ("--rerank", "--reranking"),
            Group.EMBEDDING,
            "serve /rerank with a model made for it; same as --embeddings --pooling rank",
        ),
    ] = False
    embd_normalize: Annotated[
        Whole,
        Field(ge=-1, le=64),
        Option(
            ("--embd-normalize",),
            Group.EMBEDDING,
            "how vectors are normalized, for a request that doesn't say: -1 not at all, 0 by the "
            "largest entry, 2 by the Euclidean norm, other numbers by that p-norm",
            env="LLAMAPACK_EMBD_NORMALIZE",
            metavar="N",
        ),
    ] = 2
