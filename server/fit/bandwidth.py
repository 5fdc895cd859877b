"""How fast this machine reads its memory: what bounds the tokens of one stream each second."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BYTES = 512 << 20
"""More than caches hold."""
_ROUNDS = 3


def host_bandwidth(num_threads: int) -> float:
    """Bytes per second that so many threads read together: the best of three measurements."""
    num_threads = max(num_threads, 1)
    blocks = [np.ones(_BYTES // 8 // num_threads, dtype=np.uint64) for _ in range(num_threads)]
    seconds = []
    with ThreadPoolExecutor(len(blocks)) as threads:
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            list(threads.map(np.bitwise_or.reduce, blocks))
            seconds.append(time.perf_counter() - begin)
    return sum(block.nbytes for block in blocks) / min(seconds)
