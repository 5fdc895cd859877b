"""The training of the demo model pair: corpus, tokenizer, training, export, scores."""
