"""Paths in the checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO_TARGET = ROOT / "models" / "demo" / "demo-target.gguf"
DEMO_DRAFT = ROOT / "models" / "demo" / "demo-draft.gguf"
