"""The clients that people use, against a live server with a real model: they must not notice that it is ours."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from live_model import client, live
from openai import OpenAI
from pydantic import BaseModel
from serving import SMOLLM2, Live

__all__ = ["client", "live"]

pytestmark = pytest.mark.model

FRANCE = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
}


def ask(client: OpenAI, messages: Any = FRANCE, **more: Any) -> Any:
    known = {"model": SMOLLM2, "temperature": 0, "max_tokens": 24}
    return client.chat.completions.create(messages=messages, **{**known, **more})


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [SMOLLM2]
    assert client.models.retrieve(SMOLLM2).owned_by == "localchat"


def test_a_chat(client: OpenAI) -> None:
    answer = ask(client)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_whole_answer(client: OpenAI) -> None:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = ask(client)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_length_stop_and_choices(client: OpenAI) -> None:
    cut = ask(client, max_tokens=2)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2)
    stopped = ask(client, [{"role": "user", "content": "Count from one to ten, in digits."}], stop=["3"], max_tokens=40)
    assert "3" not in stopped.choices[0].message.content
    several = ask(client, n=3, temperature=1.5, seed=1)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    again = ask(client, n=3, temperature=1.5, seed=1)
    assert [c.message.content for c in several.choices] == [c.message.content for c in again.choices]
    assert len({choice.message.content for choice in several.choices}) > 1


def test_logprobs_and_biases(client: OpenAI) -> None:
    told = ask(client, logprobs=True, top_logprobs=3, max_tokens=4).choices[0]
    assert "".join(entry.token for entry in told.logprobs.content) == told.message.content
    assert [len(entry.top_logprobs) for entry in told.logprobs.content] == [3] * 4
    assert all(entry.logprob <= 0 for entry in told.logprobs.content)


def test_an_object_and_a_schema(client: OpenAI) -> None:
    free = ask(client, response_format={"type": "json_object"}, max_tokens=200)
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)

    class City(BaseModel):
        name: str
        is_capital: bool

    found = client.chat.completions.parse(model=SMOLLM2, messages=FRANCE, response_format=City, temperature=0)
    assert isinstance(found.choices[0].message.parsed, City)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_tool_is_called(client: OpenAI, choice: Any) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
    answer = ask(client, messages, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False, max_tokens=100)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments).keys() == {"city", "unit"}
    assert choice.message.content is None
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees, sunny"}]
    assert ask(client, messages, tools=[WEATHER], tool_choice="none").choices[0].message.content


def test_a_tool_in_a_stream(client: OpenAI) -> None:
    chunks = list(ask(client, tools=[WEATHER], tool_choice="required", stream=True, max_tokens=200,
                      parallel_tool_calls=False))  # fmt: skip
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [call.function.name for call in calls] == ["get_weather"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tools_that_need_not_be_called(client: OpenAI) -> None:
    answer = ask(client, tools=[WEATHER], max_tokens=60).choices[0]
    assert answer.message.content or answer.message.tool_calls


def test_errors_are_those_of_the_client(client: OpenAI, live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, model="gpt-4")
    assert missing.value.code == "model_not_found"
    assert SMOLLM2 in missing.value.message
    with pytest.raises(openai.BadRequestError) as wrong:
        ask(client, temperature=-1)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as full:
        ask(client, [{"role": "user", "content": "word " * 4000}])
    assert full.value.code == "context_length_exceeded"
    with (
        OpenAI(base_url=live.base_url, api_key="wrong", max_retries=0) as other,
        pytest.raises(openai.AuthenticationError),
    ):
        ask(other)


def test_old_turns_leave_where_that_is_asked_for(client: OpenAI) -> None:
    turns = [{"role": role, "content": f"{word} " * 300} for word in "abcd" for role in ("user", "assistant")]
    with pytest.raises(openai.BadRequestError):
        ask(client, [*turns, *FRANCE])
    answer = ask(client, [*turns, *FRANCE], extra_body={"truncation": "auto"})
    assert answer.x_truncated["dropped_turns"] > 0
