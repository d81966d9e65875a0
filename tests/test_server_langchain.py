"""LangChain's adapters for OpenAI against a live server with a real model: they must not notice that it is ours."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from live_model import live
from pydantic import BaseModel, Field
from serving import SMOLLM2, Live

__all__ = ["live"]

pytestmark = pytest.mark.model

FRANCE = "What is the capital of France? Answer in one word."


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told to anybody else."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


def chat(live: Live, **more: Any) -> ChatOpenAI:
    known: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "max_retries": 0}
    return ChatOpenAI(model=SMOLLM2, base_url=live.base_url, api_key=live.token, **{**known, **more})


def test_an_answer_and_a_stream(live: Live) -> None:
    answer = chat(live).invoke(FRANCE)
    assert "Paris" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    chunks = list(chat(live).stream(FRANCE))
    assert len(chunks) > 1
    assert "".join(chunk.content for chunk in chunks) == answer.content


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=20)
    is_capital: bool


def test_an_object_of_a_schema(live: Live) -> None:
    found = chat(live).with_structured_output(City, method="json_schema").invoke(FRANCE)
    assert isinstance(found, City)


class Weather(BaseModel):
    """The weather in a city."""

    city: str = Field(max_length=20)


def test_a_tool_is_called_and_answered(live: Live) -> None:
    question = HumanMessage("What is the weather in Paris?")
    model = chat(live).bind_tools([Weather], tool_choice="required", parallel_tool_calls=False)
    answer = model.invoke([question])
    assert isinstance(answer, AIMessage)
    [call] = answer.tool_calls
    assert (call["name"], list(call["args"])) == ("Weather", ["city"])
    told = ToolMessage("21 degrees, sunny", tool_call_id=call["id"])
    assert chat(live).bind_tools([Weather], tool_choice="none").invoke([question, answer, told]).content


def test_a_refusal_in_the_history_is_read(live: Live) -> None:
    refused = AIMessage("", additional_kwargs={"refusal": "I cannot say."})
    assert chat(live).invoke([HumanMessage("Hello"), refused, HumanMessage(FRANCE)]).content


def test_vectors(live: Live) -> None:
    # Its own cutting wants the files of tiktoken, which are OpenAI's models' business.
    model = OpenAIEmbeddings(
        model=SMOLLM2, base_url=live.base_url, api_key=live.token, check_embedding_ctx_length=False, max_retries=0
    )
    cat, kitten, stocks = model.embed_documents(
        ["The cat sits on the mat.", "A kitten rests on a rug.", "Stocks fell sharply on Monday."]
    )
    assert len(cat) == 576
    assert dot(cat, kitten) > dot(cat, stocks)
    assert dot(model.embed_query("The cat sits on the mat."), cat) == pytest.approx(1, abs=1e-3)


def dot(first: list[float], second: list[float]) -> float:
    return sum(one * other for one, other in zip(first, second, strict=True))
