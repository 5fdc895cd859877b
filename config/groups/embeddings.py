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
            "serve embeddings, beside answers where the model gives any",
        ),
    ] = False
    pooling: Annotated[
        Literal["none", "mean", "cls", "last", "rank"] | None,
        Option(
            ("--pooling",),
            Group.EMBEDDING,
            "how the outputs of a text become one vector; of a decoder only last lets texts be "
            "longer than --ubatch-size, and reuse the cache",
            metavar="WAY",
            default_text="from the model",
        ),
    ] = None
    reranking: Annotated[
        Switch,
        Option(
            ("--rerank", "--reranking"),
            Group.EMBEDDING,
            "serve /rerank, with a model made for it: --embeddings with --pooling rank",
        ),
    ] = False
    embd_normalize: Annotated[
        Whole,
        Field(ge=-1, le=64),
        Option(
            ("--embd-normalize",),
            Group.EMBEDDING,
            "length of vectors for a request that doesn't say: -1 as they are, 0 by the largest "
            "entry, 2 Euclidean, other numbers p-norms",
            env="LLAMAPACK_EMBD_NORMALIZE",
            metavar="N",
        ),
    ] = 2
