"""Decides by hash alone which items belong to training and which are held out."""

from __future__ import annotations

import enum
import zlib

HELD_OUT_ONE_IN = 10


class Split(enum.Enum):
    """A side of the train/test split; every generator asks the split before it uses an item."""

    TRAIN = "train"
    TEST = "test"

    def admits(self, key: str) -> bool:
        """Whether the item named by `key` may appear on this side."""
        held_out = zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0
        return held_out is (self is Split.TEST)
