"""Chat with OpenAI's client, and print the answer word by word as the model writes it."""

import os

from openai import OpenAI

URL = os.environ.get("LLAMAPACK_URL", "http://127.0.0.1:8080")


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("LLAMAPACK_API_KEY", "none"))
    model = client.models.list().data[0].id  # a server has one model
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.usage:  # the last chunk
            print(f"\n({chunk.usage.prompt_tokens} + {chunk.usage.completion_tokens} tokens)")


if __name__ == "__main__":
    main()
