"""Completions, responses and Anthropic's messages, by their own clients against a live server with a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from live_model import client, live
from openai import OpenAI
from serving import SMOLLM2, Live

__all__ = ["client", "live"]

pytestmark = pytest.mark.model

QUESTION = "What is the capital of France? Answer in one word."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture
def claude(live: Live) -> Iterator[Anthropic]:
    with Anthropic(base_url=live.url, api_key=live.token, max_retries=0) as client:
        yield client


# Completions


def test_a_completion_whole_and_as_a_stream(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": SMOLLM2, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 5}
    whole = client.completions.create(**asked)
    assert "Paris" in whole.choices[0].text
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 5)
    assert "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)) == (
        whole.choices[0].text
    )
    told = client.completions.create(**asked, echo=True, logprobs=2).choices[0]
    assert told.text == asked["prompt"] + whole.choices[0].text
    assert "".join(told.logprobs.tokens) == whole.choices[0].text


def test_a_completion_behind_tokens(client: OpenAI) -> None:
    assert client.completions.create(model=SMOLLM2, prompt=[1, 30, 30], max_tokens=2).usage.prompt_tokens == 3
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="tokens that the model does not know"):
            client.completions.create(model=SMOLLM2, prompt=[2**30], max_tokens=2, stream=stream)
    with pytest.raises(openai.BadRequestError) as full:
        client.completions.create(model=SMOLLM2, prompt="word " * 4000)
    assert full.value.code == "context_length_exceeded"


# Responses


def test_a_response_and_one_that_goes_on_from_it(client: OpenAI) -> None:
    first = client.responses.create(model=SMOLLM2, input=QUESTION, temperature=0, instructions="Be brief.")
    assert "Paris" in first.output_text
    assert first.status == "completed"
    second = client.responses.create(
        model=SMOLLM2, input="Say that again.", previous_response_id=first.id, temperature=0, max_output_tokens=16
    )
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=SMOLLM2, input="Again.", previous_response_id=first.id)


def test_a_response_that_is_not_to_be_kept(client: OpenAI) -> None:
    answer = client.responses.create(model=SMOLLM2, input=QUESTION, store=False, max_output_tokens=2)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_a_response_as_a_stream(client: OpenAI) -> None:
    with client.responses.stream(model=SMOLLM2, input=QUESTION, temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "Paris" in text
    assert final.output_text == text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]


def test_a_response_of_a_form_and_one_that_calls(client: OpenAI) -> None:
    form: Any = {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}
    answer = client.responses.create(model=SMOLLM2, input=QUESTION, text=form, temperature=0)
    assert json.loads(answer.output_text).keys() == {"city"}
    tool: Any = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}
    answer = client.responses.create(
        model=SMOLLM2, input=QUESTION, tools=[tool], tool_choice="required", temperature=0, parallel_tool_calls=False
    )
    [call] = answer.output
    assert call.type == "function_call"
    assert json.loads(call.arguments).keys() == {"city"}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "2 million people"}
    again = client.responses.create(
        model=SMOLLM2, input=[result], previous_response_id=answer.id, max_output_tokens=20, temperature=0
    )
    assert again.output_text


# Messages


def test_a_message_whole_and_as_a_stream(claude: Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": SMOLLM2, "max_tokens": 24, "extra_body": {"temperature": 0}, "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
    }  # fmt: skip
    whole = claude.messages.create(**asked)
    assert "Paris" in whole.content[0].text
    assert whole.stop_reason == "end_turn"
    with claude.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == whole.content[0].text
        final = stream.get_final_message()
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == "end_turn"
    stopped = claude.messages.create(**asked, stop_sequences=["nobody says this", "Paris"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Paris")
    assert "Paris" not in stopped.content[0].text


def test_tokens_of_a_message_are_counted(claude: Anthropic) -> None:
    asked: dict[str, Any] = {"model": SMOLLM2, "messages": [{"role": "user", "content": QUESTION}]}
    counted = claude.messages.count_tokens(**asked).input_tokens
    used = claude.messages.create(**asked, max_tokens=1).usage
    assert counted == used.input_tokens + used.cache_read_input_tokens
    long = claude.messages.count_tokens(model=SMOLLM2, messages=[{"role": "user", "content": "word " * 4000}])
    assert long.input_tokens > 4000


def test_a_message_that_calls_a_tool(claude: Anthropic) -> None:
    tool: Any = {"name": "look", "description": "Look up a city.", "input_schema": SCHEMA}
    asked: list[Any] = [{"role": "user", "content": QUESTION}]
    known: dict[str, Any] = {"model": SMOLLM2, "max_tokens": 100, "extra_body": {"temperature": 0}, "tools": [tool]}
    choice: Any = {"type": "tool", "name": "look"}
    whole = claude.messages.create(**known, messages=asked, tool_choice=choice)
    [call] = whole.content
    assert (whole.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "look")
    assert call.input.keys() == {"city"}
    with claude.messages.stream(**known, messages=asked, tool_choice=choice) as stream:
        assert stream.get_final_message().content[0].input == call.input
    asked += [
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "2 million people"}]},
    ]
    assert claude.messages.create(**known, messages=asked, tool_choice={"type": "none"}).content[0].text


def test_errors_are_those_of_its_client(claude: Anthropic, live: Live) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="claude", max_tokens=1, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(anthropic.BadRequestError) as wrong:
        claude.messages.create(model=SMOLLM2, max_tokens=1, messages=[{"role": "assistant", "content": "a"}])
    assert wrong.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    with (
        Anthropic(base_url=live.url, api_key="wrong", max_retries=0) as other,
        pytest.raises(anthropic.AuthenticationError),
    ):
        other.messages.create(model=SMOLLM2, max_tokens=1, messages=[{"role": "user", "content": "a"}])
