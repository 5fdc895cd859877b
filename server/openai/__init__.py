"""OpenAI's dialect: chat completions and the older text completions."""
