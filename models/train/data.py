"""Writes the corpus as rows of tokens: `python -m models.train.data`.

`tokens.bin` (uint16) and `trained.bin` (uint8, 1 if the model is trained to say the token) both
hold rows of equal length. A row has whole conversations, each ended by `<|endoftext|>`. The same
token pads the end of the row.
"""

from __future__ import annotations

import argparse
import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.train.corpus.mixture import SKILLS, conversation
from models.train.corpus.split import Split
from models.train.render import render
from models.train.vocabulary import END_OF_TEXT

CHUNK = 500
OPEN_ROWS = 32
SHORT_ROW, LONG_ROW = 512, 4096

Encoded = tuple[list[int], list[int]]


def encode_chunk(
    first: int, *, path: Path, seed: int, long: bool, boost: tuple[str, ...]
) -> list[Encoded]:
    """Conversations `first` to `first + CHUNK`, each as (tokens, trained)."""
    tokenizer = Tokenizer.from_file(str(path))
    end = tokenizer.token_to_id(END_OF_TEXT)
    encoded: list[Encoded] = []
    for index in range(first, first + CHUNK):
        pieces = render(conversation(seed, index, Split.TRAIN, long=long, boost=boost))
        ids: list[int] = []
        trained: list[int] = []
        # Pieces are encoded one by one, because a server encodes the prompt without the answer.
        encodings = tokenizer.encode_batch([piece.text for piece in pieces])
        for piece, encoding in zip(pieces, encodings, strict=True):
            ids += encoding.ids
            trained += [int(piece.trained)] * len(encoding.ids)
        encoded.append(([*ids, end], [*trained, 0]))
    return encoded


class RowPacker:
    """Fills rows of `length` tokens; each conversation goes into the first open row with room."""

    def __init__(self, length: int, end: int) -> None:
        self.length = length
        self.end = end
        self.open: list[Encoded] = []
        self.closed: list[Encoded] = []

    def add(self, ids: list[int], trained: list[int]) -> None:
        """Add one conversation; tokens beyond the length of a row are cut off."""
        ids, trained = ids[: self.length], trained[: self.length]
        for row_ids, row_trained in self.open:
            if len(row_ids) + len(ids) <= self.length:
                row_ids += ids
                row_trained += trained
                return
        self.open.append((list(ids), list(trained)))
        if len(self.open) > OPEN_ROWS:
            fullest = max(range(len(self.open)), key=lambda i: len(self.open[i][0]))
            self.closed.append(self.open.pop(fullest))

    def take(self) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
        """The rows closed since the last call, padded."""
        rows, self.closed = self.closed, []
        tokens = np.full((len(rows), self.length), self.end, np.uint16)
        flags = np.zeros((len(rows), self.length), np.uint8)
        for place, (ids, trained) in enumerate(rows):
            tokens[place, : len(ids)] = ids
            flags[place, : len(ids)] = trained
        return tokens, flags


def write_corpus(
    folder: Path, path: Path, seed: int, tokens: int, *, long: bool, boost: tuple[str, ...]
) -> str:
    """Write rows of about `tokens` tokens into `folder`; return a summary."""
    folder.mkdir(parents=True, exist_ok=True)
    end = Tokenizer.from_file(str(path)).token_to_id(END_OF_TEXT)
    packer = RowPacker(LONG_ROW if long else SHORT_ROW, end)
    encode = partial(encode_chunk, path=path, seed=seed, long=long, boost=boost)
    first = written = trained = 0
    with (
        (folder / "tokens.bin").open("wb") as token_file,
        (folder / "trained.bin").open("wb") as trained_file,
        multiprocessing.Pool(2) as pool,
    ):
        while written < tokens:
            batch = range(first, first + 8 * CHUNK, CHUNK)
            for encoded in pool.map(encode, batch, chunksize=1):
                for ids, flags in encoded:
                    packer.add(ids, flags)
            rows, row_flags = packer.take()
            rows.tofile(token_file)
            row_flags.tofile(trained_file)
            first, written = batch.stop, written + rows.size
            trained += int(row_flags.sum())
    return f"{first} conversations, {written} tokens, {trained} of them trained"


def main() -> None:
    """Write the short and the long corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=30_000_000)
    parser.add_argument("--long-tokens", type=int, default=3_000_000)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--boost", nargs="*", default=[], choices=[*SKILLS, "tools"], help="skills to practise most"
    )
    args = parser.parse_args()
    boost = tuple(args.boost)
    for name, tokens, long in (("short", args.tokens, False), ("long", args.long_tokens, True)):
        summary = write_corpus(
            args.output / name, args.tokenizer, args.seed, tokens, long=long, boost=boost
        )
        print(name, summary)


if __name__ == "__main__":
    main()
