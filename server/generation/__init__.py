"""From a prompt to text: admission, choices, detokenizing, deadlines."""
