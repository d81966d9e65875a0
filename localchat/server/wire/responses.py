"""OpenAI's responses: requests, and what is kept of answers so that a later request can go on from them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from localchat.conversation import Conversation, Message
from localchat.server.asking import Ask
from localchat.server.refusal import Refusal
from localchat.server.tools import AUTO, Tool, Tools, calls_text, chosen
from localchat.server.wire.chat import ANY_OBJECT
from localchat.server.wire.fields import MESSAGES_LIMIT, TOOLS_LIMIT, Name, SampledWire, Tokens, ToolName, Wire
from localchat.server.wire.talk import Talk

KEPT_LIMIT, KEPT_CHARACTERS = 200, 16 << 20
TEXTS = ("input_text", "output_text", "text", "refusal")


class ContentPart(Wire):
    """A part of a message's content."""

    type: str
    text: str | None = None


class InputItem(Wire):
    """A message, a call that was made, or what a call returned."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ContentPart] | None = None


class TextFormat(Wire):
    """What form the reply must have."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class TextOptions(Wire):
    """The same in its wrapper."""

    format: TextFormat | None = None


class ResponseTool(Wire):
    """A tool, without the wrapper that chat completions have."""

    type: str
    name: ToolName | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class NamedChoice(Wire):
    """The tool that must be called."""

    type: Literal["function"]
    name: ToolName


class ResponsesRequest(SampledWire):
    """`POST /v1/responses`."""

    model: Name
    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MESSAGES_LIMIT)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    text: TextOptions | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=TOOLS_LIMIT)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None

    def ask(self, before: Sequence[Message]) -> Ask:
        """What is asked, behind what was said `before`. Raises Refusal for what cannot be done."""
        schema, tools = self._schema(), self._tools()
        if schema is not None and tools is not None:
            raise Refusal(400, "unsupported", "a reply cannot be bound to a schema and call tools",
                          "leave one of them out", param="text")  # fmt: skip
        system = [Message("system", self.instructions)] if self.instructions else []
        messages = (*system, *before, *self.messages())
        if messages[-1].role != "user":
            raise Refusal(400, "invalid_request", "the last item must be the user's, or a tool's", param="input")
        return Ask(
            conversation=Conversation(messages), changes=self.changes(self.max_output_tokens), stops=self.stops,
            schema=schema, tools=tools, when_full="drop" if self.truncation == "auto" else "error",
        )  # fmt: skip

    def messages(self) -> tuple[Message, ...]:
        """What is said with this request. Raises Refusal."""
        if isinstance(self.input, str):
            return (Message("user", self.input),)
        names = {item.call_id: item.name or "" for item in self.input if item.type == "function_call"}
        talk = Talk()
        for place, item in enumerate(self.input):
            _say(talk, item, names, f"input[{place}]")
        found = talk.messages()
        if not found:
            raise Refusal(400, "invalid_request", "nothing is said", param="input")
        return found

    def _schema(self) -> dict[str, Any] | None:
        form = self.text.format if self.text else None
        if form is None or form.type == "text":
            return None
        return ANY_OBJECT if form.type == "json_object" else form.schema_ or {}

    def _tools(self) -> Tools | None:
        if any(tool.type != "function" or not tool.name for tool in self.tools or ()):
            raise Refusal(400, "unsupported", "only functions can be tools", param="tools")
        known = [
            Tool(tool.name or "", tool.description or "", tool.parameters or ANY_OBJECT) for tool in self.tools or ()
        ]
        if isinstance(self.tool_choice, NamedChoice):
            return chosen(known, "required", self.tool_choice.name)
        return chosen(known, self.tool_choice or AUTO, several=self.parallel_tool_calls is not False)


def _say(talk: Talk, item: InputItem, names: dict[str | None, str], where: str) -> None:
    """Add what an item says; thoughts of other models are left out."""
    match item.type:
        case "message":
            role = item.role or "user"
            text = _text(item.content, where)
            talk.say("system" if role == "developer" else role, text)
        case "function_call":
            talk.say("assistant", calls_text([(item.name or "", item.arguments or "")]))
        case "function_call_output":
            talk.returned(names.get(item.call_id, ""), _text(item.output, where))


def _text(content: str | list[ContentPart] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not all(part.type in TEXTS for part in content):
        raise Refusal(400, "unsupported", "the models here read text only", param=where)
    return "\n".join(part.text or "" for part in content)


def about(request: ResponsesRequest) -> dict[str, Any]:
    """What an answer repeats of its request."""
    fields = ("instructions", "max_output_tokens", "previous_response_id", "temperature", "top_p")
    choice = request.tool_choice
    return {
        **{name: getattr(request, name) for name in fields},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "store": request.store is not False,
        "text": {"format": {"type": (request.text and request.text.format and request.text.format.type) or "text"}},
        "tool_choice": choice.model_dump() if isinstance(choice, NamedChoice) else choice or AUTO,
        "tools": [{**tool.model_dump(), "strict": False} for tool in request.tools or ()],
        "truncation": request.truncation or "disabled",
        "metadata": {},
    }


def said_in(answer: dict[str, Any]) -> list[Message]:
    """What the model has said in an answer."""
    texts = [part["text"] for item in answer["output"] for part in item.get("content", ())]
    calls = [(item["name"], item["arguments"]) for item in answer["output"] if item["type"] == "function_call"]
    text = "".join(texts) or (calls_text(calls) if calls else "")
    return [Message("assistant", text)]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and all that was said before it."""

    messages: tuple[Message, ...]
    answer: dict[str, Any]
    characters: int
    """How much of it there is."""


@dataclass(slots=True)
class Shelf:
    """The last answers, in memory alone: the oldest go when there are many, and all with the server."""

    _kept: OrderedDict[str, Kept] = field(default_factory=OrderedDict)
    _characters: int = 0

    def keep(self, messages: Sequence[Message], answer: dict[str, Any]) -> None:
        """Keep an answer and what led to it."""
        characters = sum(len(message.text) for message in messages) + len(json.dumps(answer))
        self._kept[answer["id"]] = Kept(tuple(messages), answer, characters)
        self._characters += characters
        while len(self._kept) > KEPT_LIMIT or self._characters > KEPT_CHARACTERS:
            self.remove(next(iter(self._kept)))

    def find(self, name: str, param: str | None = None) -> Kept:
        """One of them. Raises Refusal."""
        if name not in self._kept:
            raise Refusal(404, "response_not_found", "there is no such response, or not any more", param=param)
        return self._kept[name]

    def remove(self, name: str) -> None:
        """Forget one of them. Raises Refusal."""
        self._characters -= self.find(name).characters
        del self._kept[name]
