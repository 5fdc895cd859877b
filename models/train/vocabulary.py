"""The special tokens and the pre-tokenizer, shared by tokenizer, data and export."""

from __future__ import annotations

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CONTROL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
# Their text is part of the answer, so they are user-defined tokens and not control tokens.
TAG_TOKENS = (
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)

VOCABULARY_SIZE = 2048

# The pattern that llama.cpp uses for `tokenizer.ggml.pre = qwen2`: every digit is a token.
PRE_TOKENIZER = "qwen2"
PRE_TOKENIZER_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
