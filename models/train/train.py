"""Trains a model on the corpus: `python -m models.train.train`.

The learning rate follows the clock and not the step. It warms up, holds, and falls to zero when
`--minutes` of work are over. So a run on a busy machine ends as well annealed as a run on a quiet
machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as fn
from tokenizers import Tokenizer
from torch import Tensor

from models.train.batches import Batch, batches
from models.train.checkpoint import load, save
from models.train.clock import WorkingTime
from models.train.model import DRAFT, TARGET, Llama
from models.train.optimizer import Optimizer
from models.train.vocabulary import END_OF_TEXT

WARM_UP_STEPS = 60
CONFIGS = {"target": TARGET, "draft": DRAFT}


def rate_at(step: int, progress: float, hold: float) -> float:
    """The share of the peak learning rate at `step`, when the share `progress` of the time is over.

    The rate holds until `hold` and then falls in a straight line.
    """
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    fall = min(1.0, (1.0 - progress) / (1.0 - hold))
    return warm * max(fall, 0.01)


def runner(model: Llama, compiled: bool) -> Callable[[Batch], Tensor]:
    """A function from a batch to the hidden states of its trained tokens [N, D].

    Long rows are rare and run uncompiled, because a second compilation would take longer than it
    saves.
    """
    fast = torch.compile(model, dynamic=False) if compiled else model

    def run(batch: Batch) -> Tensor:
        forward = model if batch.mask is None else fast
        hidden: Tensor = forward(batch.inputs, batch.mask)
        return hidden[batch.weights > 0]

    return run


def train(model: Llama, args: argparse.Namespace, first: int) -> None:
    """Train until the time is over, with a checkpoint every few minutes."""
    end = Tokenizer.from_file(str(args.tokenizer)).token_to_id(END_OF_TEXT)
    optimizer = Optimizer(model, args.muon_rate, args.adam_rate)
    run = runner(model, args.compile)
    clock = WorkingTime(args.minutes)
    saved = told = time.monotonic()
    step, total, tokens = first, 0.0, 0
    for batch in batches(args.corpus, args.rows, end, args.seed, first):
        if (progress := clock.tick()) >= 1:
            break
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.logits(run(batch))
            loss = fn.cross_entropy(logits.float(), batch.targets[batch.weights > 0])
        loss.backward()
        optimizer.step(rate_at(step - first, progress, args.hold))
        step, total, tokens = step + 1, total + loss.item(), tokens + batch.inputs.numel()
        if step % args.report == 0:
            now = time.monotonic()
            print(
                f"step {step} loss {total / args.report:.4f} progress {progress:.3f} "
                f"{tokens / (now - told):.0f} tok/s",
                flush=True,
            )
            total, tokens, told = 0.0, 0, now
        if time.monotonic() - saved > 60 * args.save_minutes:
            save(model, args.output, step)
            saved = time.monotonic()
    save(model, args.output, step)


def main() -> None:
    """Train from scratch, or continue from a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CONFIGS, default="target")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="checkpoint or GGUF to start from")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--save-minutes", type=float, default=3)
    parser.add_argument("--hold", type=float, default=0.4, help="share of the time at full rate")
    parser.add_argument("--rows", type=int, default=8, help="short rows in a batch")
    parser.add_argument("--muon-rate", type=float, default=0.005)
    parser.add_argument("--adam-rate", type=float, default=0.0015)
    parser.add_argument("--report", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model, first = load(args.resume) if args.resume else (Llama(CONFIGS[args.model]), 0)
    print(f"{model.parameter_count()} parameters, from step {first}")
    train(model, args, first)


if __name__ == "__main__":
    main()
