"""From an empty folder to the demo model pair: corpus, tokenizer, training, export, scores."""
