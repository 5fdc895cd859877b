"""Trains the byte-level BPE tokenizer on the corpus: `python -m models.train.tokenizer`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.train.corpus.mixture import conversation
from models.train.corpus.split import Split
from models.train.render import render
from models.train.vocabulary import (
    CONTROL_TOKENS,
    PRE_TOKENIZER_PATTERN,
    TAG_TOKENS,
    VOCABULARY_SIZE,
)


def corpus_texts(seed: int, count: int) -> Iterator[str]:
    """The first `count` conversations without their special tokens."""
    for index in range(count):
        text = "".join(piece.text for piece in render(conversation(seed, index, Split.TRAIN)))
        for token in (*CONTROL_TOKENS, *TAG_TOKENS):
            text = text.replace(token, "\n")
        yield text


def train_tokenizer(seed: int, count: int) -> Tokenizer:
    """A tokenizer of `VOCABULARY_SIZE` tokens: specials, 256 bytes, then merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [
        AddedToken(token, special=token in CONTROL_TOKENS, normalized=False)
        for token in (*CONTROL_TOKENS, *TAG_TOKENS)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus_texts(seed, count), trainer)
    return tokenizer


def main() -> None:
    """Write `tokenizer.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--conversations", type=int, default=30_000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(args.seed, args.conversations)
    tokenizer.save(str(args.output))
    print(f"{tokenizer.get_vocab_size()} tokens in {args.output}")


if __name__ == "__main__":
    main()
