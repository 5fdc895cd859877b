"""Let the model call a Python function, and answer from what the function returns."""

import json
import os

from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam

URL = os.environ.get("LLAMAPACK_URL", "http://127.0.0.1:8080")
TOOLS: list[ChatCompletionToolUnionParam] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def get_weather(city: str) -> str:
    """Stands for a call of a weather service."""
    return f"12 degrees and rain in {city}"


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("LLAMAPACK_API_KEY", "none"))
    model = client.models.list().data[0].id  # a server has one model
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "What is the weather in Oslo?"}
    ]
    while True:
        completion = client.chat.completions.create(
            model=model, messages=messages, tools=TOOLS, temperature=0
        )
        answer = completion.choices[0].message
        if not answer.tool_calls:
            break
        messages.append(answer.to_dict())  # type: ignore[arg-type]  # a message is one, as a dict
        for call in answer.tool_calls:
            assert call.type == "function"
            print(f"calls {call.function.name}({call.function.arguments})")
            result = get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    print(answer.content)


if __name__ == "__main__":
    main()
