"""Read facts out of a sentence into a pydantic model. The answer always fits the model's types."""

import os

from openai import OpenAI
from pydantic import BaseModel, Field

URL = os.environ.get("LLAMAPACK_URL", "http://127.0.0.1:8080")


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    city: str = Field(max_length=20)


def main() -> None:
    client = OpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("LLAMAPACK_API_KEY", "none"))
    model = client.models.list().data[0].id  # a server has one model
    sentence = "Ana is 31 years old and lives in Oslo."
    completion = client.chat.completions.parse(
        model=model,
        messages=[
            {"role": "system", "content": f"Extract JSON: {Person.model_json_schema()}"},
            {"role": "user", "content": sentence},
        ],
        response_format=Person,
        temperature=0,
    )
    person = completion.choices[0].message.parsed
    print(repr(person))


if __name__ == "__main__":
    main()
