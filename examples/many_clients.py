"""Ask many questions at once: the server computes them together, and each answer streams."""

import asyncio
import os
import time

from openai import AsyncOpenAI

URL = os.environ.get("LLAMAPACK_URL", "http://127.0.0.1:8080")
COUNTRIES = ("France", "Italy", "Spain", "Norway", "Japan", "Egypt", "Peru", "Kenya")


async def ask(client: AsyncOpenAI, model: str, country: str) -> str:
    """One client: its question and the whole answer."""
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": f"What is the capital of {country}?"}],
        temperature=0,
        max_tokens=40,
        stream=True,
    )
    return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])


async def main() -> None:
    begin = time.perf_counter()
    key = os.environ.get("LLAMAPACK_API_KEY", "none")
    async with AsyncOpenAI(base_url=f"{URL}/v1", api_key=key) as client:
        model = (await client.models.list()).data[0].id
        answers = await asyncio.gather(*(ask(client, model, country) for country in COUNTRIES))
    for country, answer in zip(COUNTRIES, answers, strict=True):
        print(f"{country:8} {answer}")
    print(f"{len(answers)} answers in {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
