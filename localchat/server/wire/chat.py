"""OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from localchat.conversation import Conversation
from localchat.engine.events import TokenProbability
from localchat.server.answering import Frame
from localchat.server.asking import Ask
from localchat.server.refusal import Refusal
from localchat.server.said import Begun, End, Said, Text
from localchat.server.tools import Call, Tool, Tools, calls_text, chosen
from localchat.server.wire.chunks import Chunks
from localchat.server.wire.fields import (
    MESSAGES_LIMIT,
    TOOLS_LIMIT,
    Choices,
    Name,
    SampledWire,
    Tokens,
    ToolName,
    Wire,
)
from localchat.server.wire.talk import Talk
from localchat.server.wire.tally import ledger_fields

ANY_OBJECT = {"type": "object"}


class Part(Wire):
    """A part of a message's content."""

    type: str
    text: str | None = None


class Function(Wire):
    """A tool, as OpenAI names it."""

    name: ToolName
    description: str = ""
    parameters: dict[str, Any] | None = None


class FunctionTool(Wire):
    """A tool in its wrapper."""

    type: Literal["function"]
    function: Function


class Called(Wire):
    """The name and the arguments of a call."""

    name: ToolName
    arguments: str = ""


class ToolCall(Wire):
    """A call that the model has made."""

    id: str = ""
    function: Called


class ChatMessage(Wire):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class NamedFunction(Wire):
    """The tool that must be called."""

    name: ToolName


class NamedTool(Wire):
    """The same in its wrapper."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Wire):
    """A schema and its name."""

    name: str = ""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")


class ResponseFormat(Wire):
    """What form the reply must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Wire):
    """What a stream tells besides the reply."""

    include_usage: bool = False


class ChatRequest(SampledWire):
    """`POST /v1/chat/completions`."""

    model: Name
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MESSAGES_LIMIT)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Choices | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=TOOLS_LIMIT)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None

    def ask(self) -> Ask:
        """What is asked. Raises Refusal for what cannot be done."""
        if self.functions:
            raise Refusal(400, "unsupported", "functions are not supported", "send them as tools", param="functions")
        schema = schema_of(self.response_format)
        tools = tools_of(self.tools or (), self.tool_choice or "auto", self.parallel_tool_calls is not False)
        if schema is not None and tools is not None:
            raise Refusal(400, "unsupported", "a reply cannot be bound to a schema and call tools",
                          "leave one of them out", param="response_format")  # fmt: skip
        changes = self.changes(self.max_completion_tokens or self.max_tokens)
        if self.logprobs:
            changes["logprobs"] = self.top_logprobs or 0
        return Ask(
            conversation=conversation_of(self.messages), changes=changes, stops=self.stops, schema=schema, tools=tools,
            when_full="drop" if self.truncation == "auto" else "error", choices=self.n or 1,
        )  # fmt: skip


def schema_of(form: ResponseFormat | None) -> dict[str, Any] | None:
    """The schema that a reply must obey. Raises Refusal where it is announced and missing."""
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return ANY_OBJECT
    if form.json_schema is None:
        raise Refusal(400, "invalid_request", "json_schema is missing", param="response_format")
    return form.json_schema.schema_


def tools_of(
    tools: Sequence[FunctionTool], choice: Literal["none", "auto", "required"] | NamedTool, several: bool
) -> Tools | None:
    """The tools that count. Raises Refusal."""
    known = [Tool(one.function.name, one.function.description, one.function.parameters or ANY_OBJECT) for one in tools]
    if isinstance(choice, NamedTool):
        return chosen(known, "required", choice.function.name)
    return chosen(known, choice, several=several)


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """The same messages as the engine knows them: calls and their results in words. Raises Refusal."""
    names = {call.id: call.function.name for message in messages for call in message.tool_calls or ()}
    talk = Talk()
    for place, message in enumerate(messages):
        text = _text(message.content, f"messages[{place}].content")
        match message.role:
            case "system" | "developer":
                talk.say("system", text)
            case "tool":
                talk.returned(names.get(message.tool_call_id or "", ""), text)
            case "assistant":
                calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
                talk.say("assistant", calls_text(calls) if calls and not text else text)
            case "user":
                talk.say("user", text)
    found = talk.messages()
    if not found or found[-1].role != "user":
        raise Refusal(400, "invalid_request", "the last message must be the user's, or a tool's", param="messages")
    return Conversation(found)


def _text(content: str | list[Part] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not all(part.type in ("text", "input_text", "output_text", "refusal") for part in content):
        raise Refusal(400, "unsupported", "the models here read text only", param=where)
    return "\n".join(part.text or "" for part in content)


class ChatWire(Chunks):
    """A reply as chunks."""

    def __init__(self, model: str, *, tells_usage: bool) -> None:
        super().__init__(model, "chatcmpl", "chat.completion.chunk", tells_usage=tells_usage)
        self._calls: dict[int, int] = {}

    def take(self, choice: int, what: Said) -> Iterator[Frame]:
        """The chunk that tells this."""
        match what:
            case Begun(ledger):
                yield self._chunk(choice, {"role": "assistant", "content": ""}) | ledger_fields(ledger)
            case Text(text, logprobs):
                told = {"content": [_probability(one) for one in logprobs]} if logprobs else None
                yield self._chunk(choice, {"content": text}, logprobs=told)
            case Call(identity, name, arguments):
                number = self._calls[choice] = self._calls.get(choice, -1) + 1
                function = {"name": name, "arguments": arguments}
                call = {"index": number, "id": identity, "type": "function", "function": function}
                yield self._chunk(choice, {"tool_calls": [call]})
            case End(reason, usage):
                self._tally.add(usage)
                yield self._chunk(choice, {}, reason=reason)

    def whole(self, frames: Iterable[Frame]) -> Frame:
        """The chunks folded into a completion."""
        choices: dict[int, Frame] = {}
        answer: Frame = {**self._head, "object": "chat.completion"}
        for frame in frames:
            answer |= {key: value for key, value in frame.items() if key not in self._head and key != "choices"}
            for told in frame["choices"]:
                _fold(choices.setdefault(told["index"], _empty(told["index"])), told)
        for choice in choices.values():
            message = choice["message"]
            message["content"] = message["content"] or (None if "tool_calls" in message else "")
        return {**answer, "choices": [choices[number] for number in sorted(choices)]}

    def _chunk(self, choice: int, delta: Frame, *, logprobs: Frame | None = None, reason: str | None = None) -> Frame:
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head, "choices": [told], **({"usage": None} if self._tells_usage else {})}


def _empty(number: int) -> Frame:
    message = {"role": "assistant", "content": "", "refusal": None}
    return {"index": number, "message": message, "logprobs": None, "finish_reason": None}


def _fold(choice: Frame, told: Frame) -> None:
    """Add what a chunk tells to the choice that it belongs to."""
    message, delta = choice["message"], told["delta"]
    message["content"] += delta.get("content", "")
    for call in delta.get("tool_calls", ()):
        message.setdefault("tool_calls", []).append({key: value for key, value in call.items() if key != "index"})
    if told["logprobs"]:
        choice["logprobs"] = choice["logprobs"] or {"content": []}
        choice["logprobs"]["content"] += told["logprobs"]["content"]
    choice["finish_reason"] = told["finish_reason"] or choice["finish_reason"]


def _probability(found: TokenProbability) -> Frame:
    likeliest = [_rated(text, logprob) for text, logprob in found.likeliest]
    return {**_rated(found.text, found.logprob), "top_logprobs": likeliest}


def _rated(text: str, logprob: float) -> Frame:
    return {"token": text, "logprob": max(-9999.0, logprob), "bytes": list(text.encode("utf-8", "replace"))}
