"""Trains the draft model on the target's predictions: `python -m models.train.distill`.

The draft model sees the corpus's conversations. At every token of an answer, the draft learns the
target's distribution over the next token, and above all the target's first choice.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as fn
from tokenizers import Tokenizer
from torch import Tensor

from models.train.batches import batches
from models.train.checkpoint import load, save
from models.train.clock import WorkingTime
from models.train.model import DRAFT, Llama
from models.train.optimizer import Optimizer
from models.train.train import rate_at, runner
from models.train.vocabulary import END_OF_TEXT

# Weight of the target's first choice relative to its whole distribution. Acceptance at temperature
# 0 depends on the first choice alone.
CHOICE_WEIGHT = 0.5


def agreement_loss(drafted: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(loss, share of equal first choices) of the draft's and the target's logits [N, V]."""
    choice = wanted.argmax(-1)
    divergence = fn.kl_div(drafted.log_softmax(-1), wanted.softmax(-1), reduction="batchmean")
    loss = divergence + CHOICE_WEIGHT * fn.cross_entropy(drafted, choice)
    return loss, (drafted.argmax(-1) == choice).float().mean()


def distill(draft: Llama, target: Llama, args: argparse.Namespace) -> None:
    """Train until the time is over."""
    end = Tokenizer.from_file(str(args.tokenizer)).token_to_id(END_OF_TEXT)
    optimizer = Optimizer(draft, args.muon_rate, args.adam_rate)
    run_target, run_draft = runner(target, args.compile), runner(draft, args.compile)
    clock = WorkingTime(args.minutes)
    saved = told = time.monotonic()
    agreed, tokens = 0.0, 0
    for step, batch in enumerate(batches(args.corpus, args.rows, end, args.seed)):
        if (progress := clock.tick()) >= 1:
            break
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = target.logits(run_target(batch)).float()
            loss, agreement = agreement_loss(draft.logits(run_draft(batch)).float(), wanted)
        loss.backward()
        optimizer.step(rate_at(step, progress, args.hold))
        agreed, tokens = agreed + agreement.item(), tokens + batch.inputs.numel()
        if (step + 1) % args.report == 0:
            now = time.monotonic()
            print(
                f"step {step + 1} agreement {agreed / args.report:.4f} progress {progress:.3f} "
                f"{tokens / (now - told):.0f} tok/s",
                flush=True,
            )
            agreed, tokens, told = 0.0, 0, now
        if time.monotonic() - saved > 180:
            save(draft, args.output, step)
            saved = time.monotonic()
    save(draft, args.output, step)


def main() -> None:
    """Distil a draft from a target's checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=Path, required=True, help="checkpoint or GGUF")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="draft checkpoint or GGUF to start from")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--hold", type=float, default=0.4, help="share of the time at full rate")
    parser.add_argument("--rows", type=int, default=8, help="short rows in a batch")
    parser.add_argument("--muon-rate", type=float, default=0.008)
    parser.add_argument("--adam-rate", type=float, default=0.002)
    parser.add_argument("--report", type=int, default=25)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    draft = load(args.resume)[0] if args.resume else Llama(DRAFT)
    target, step = load(args.target)
    print(f"{draft.parameter_count()} parameters, target from step {step}")
    distill(draft, target.eval(), args)


if __name__ == "__main__":
    main()
