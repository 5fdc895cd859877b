"""From tokens of a prompt to text: admission, deadlines, detokenizing, choices, observers."""
