"""Train the target model: `python -m models.train.train`.

The learning rate follows the clock and not the step: it warms up, holds, and falls to zero when
`--minutes` are over, so that a run on a busy machine ends as well annealed as one on a quiet one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as fn
from tokenizers import Tokenizer
from torch import Tensor

from models.train.batches import Batch, batches
from models.train.model import TARGET, Llama, ModelConfig
from models.train.optimizer import Optimizer
from models.train.vocabulary import END_OF_TEXT

WARM_UP_STEPS = 60
HOLD_UNTIL = 0.4


def rate_at(step: int, progress: float) -> float:
    """The share of the peak learning rate at `step`, `progress` of the time being over."""
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    fall = min(1.0, (1.0 - progress) / (1.0 - HOLD_UNTIL))
    return warm * max(fall, 0.01)


def answer_loss(model: Llama, hidden: Tensor, batch: Batch) -> Tensor:
    """Mean cross-entropy over the trained tokens; hidden is [B, T, D]."""
    trained = batch.weights > 0
    logits = model.logits(hidden[trained])
    return fn.cross_entropy(logits.float(), batch.targets[trained])


def save(model: Llama, path: Path, step: int) -> None:
    """Write weights and configuration, replacing the file in one move."""
    partial = path.with_suffix(".tmp")
    torch.save(
        {"config": asdict(model.config), "weights": model.state_dict(), "step": step}, partial
    )
    partial.replace(path)


def load(path: Path) -> tuple[Llama, int]:
    """The model that `save` wrote, and its step."""
    saved = torch.load(path, weights_only=True)
    model = Llama(ModelConfig(**saved["config"]))
    model.load_state_dict(saved["weights"])
    return model, int(saved["step"])


def train(model: Llama, args: argparse.Namespace, first: int) -> None:
    """Train until the time is over, with a checkpoint every few minutes."""
    end = Tokenizer.from_file(str(args.tokenizer)).token_to_id(END_OF_TEXT)
    optimizer = Optimizer(model, args.muon_rate, args.adam_rate)
    forward = torch.compile(model, dynamic=False) if args.compile else model
    started = saved = told = time.monotonic()
    step, total, tokens = first, 0.0, 0
    for batch in batches(args.corpus, args.rows, end, args.seed, first):
        progress = (time.monotonic() - started) / (60 * args.minutes)
        if progress >= 1:
            break
        with torch.autocast("cpu", torch.bfloat16):
            # Long rows are rare and run uncompiled: their shape is not worth a second compilation.
            run = model if batch.mask is None else forward
            loss = answer_loss(model, run(batch.inputs, batch.mask), batch)
        loss.backward()
        optimizer.step(rate_at(step - first, progress))
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
    """Train from scratch, or go on from a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="checkpoint to start from")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--save-minutes", type=float, default=3)
    parser.add_argument("--rows", type=int, default=16, help="short rows in a batch")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=0.004)
    parser.add_argument("--report", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model, first = load(args.resume) if args.resume else (Llama(TARGET), 0)
    print(f"{model.parameter_count()} parameters, from step {first}")
    train(model, args, first)


if __name__ == "__main__":
    main()
