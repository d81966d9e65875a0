"""Anthropic's messages."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from localchat.conversation import Conversation
from localchat.sampling import RANGES
from localchat.server.answering import Frame, event
from localchat.server.asking import Ask
from localchat.server.refusal import Refusal, anthropic_error
from localchat.server.said import Begun, End, Said, Text
from localchat.server.tools import Call, Tool, Tools, calls_text, chosen
from localchat.server.wire.fields import (
    MESSAGES_LIMIT,
    STOPS_LIMIT,
    TOOLS_LIMIT,
    Identity,
    Name,
    Stop,
    Tokens,
    ToolName,
    Wire,
)
from localchat.server.wire.talk import Talk
from localchat.server.wire.tally import Tally, ledger_fields

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
CHOICES: dict[str, Literal["auto", "required", "none"]] = {"auto": "auto", "any": "required", "none": "none"}


class Block(Wire):
    """A part of a message."""

    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[Block] | None = None


class Turn(Wire):
    """One message."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class InputTool(Wire):
    """A tool, as Anthropic names it."""

    name: ToolName
    description: str = ""
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class ToolChoice(Wire):
    """Whether a tool must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool = False


class Metadata(Wire):
    """Who asks."""

    user_id: Identity | None = None


class CountRequest(Wire):
    """`POST /v1/messages/count_tokens`."""

    model: Name
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MESSAGES_LIMIT)]
    system: str | list[Block] | None = None
    tools: Annotated[list[InputTool], Field(max_length=TOOLS_LIMIT)] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None

    def ask(self) -> Ask:
        """What is asked. Raises Refusal for what cannot be done."""
        return Ask(conversation=self._conversation(), tools=self._tools())

    @property
    def user(self) -> str | None:
        """Who asks, if that is said."""
        return self.metadata.user_id if self.metadata else None

    def _conversation(self) -> Conversation:
        talk = Talk()
        if self.system:
            talk.say("system", _text(self.system, "system"))
        names = {block.id: block.name or "" for turn in self.messages for block in _blocks(turn) if block.id}
        for place, turn in enumerate(self.messages):
            _say(talk, turn, names, f"messages[{place}].content")
        found = talk.messages()
        if found[-1].role != "user":
            raise Refusal(400, "unsupported", "the last message must be the user's", param="messages")
        return Conversation(found)

    def _tools(self) -> Tools | None:
        known = [Tool(one.name, one.description, one.input_schema or {"type": "object"}) for one in self.tools or ()]
        choice = self.tool_choice or ToolChoice(type="auto")
        if choice.type == "tool" and not choice.name:
            raise Refusal(400, "invalid_value", "a choice of one tool must name it", param="tool_choice.name")
        name = choice.name if choice.type == "tool" else ""
        return chosen(known, CHOICES.get(choice.type, "required"), name, several=not choice.disable_parallel_tool_use)


class MessagesRequest(CountRequest):
    """`POST /v1/messages`."""

    max_tokens: Tokens
    stream: bool | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=STOPS_LIMIT)] | None = None
    temperature: float | None = Field(default=None, ge=0, le=RANGES["temperature"][1])
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=int(RANGES["top_k"][1]))
    truncation: Literal["auto", "disabled"] | None = None

    def ask(self) -> Ask:
        """What is asked. Raises Refusal for what cannot be done."""
        given = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        changes = {name: value for name, value in given.items() if value is not None}
        return Ask(
            conversation=self._conversation(), tools=self._tools(), changes={**changes, "max_tokens": self.max_tokens},
            stops=tuple(self.stop_sequences or ()), when_full="drop" if self.truncation == "auto" else "error",
        )  # fmt: skip


def _blocks(turn: Turn) -> Sequence[Block]:
    return [Block(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content


def _say(talk: Talk, turn: Turn, names: dict[str, str], where: str) -> None:
    """Add what a turn says. Raises Refusal for pictures and other things that are no text."""
    calls = [(block.name or "", json.dumps(block.input or {})) for block in _blocks(turn) if block.type == "tool_use"]
    for block in _blocks(turn):
        if block.type == "tool_result":
            talk.returned(names.get(block.tool_use_id or "", ""), _text(block.content or "", where))
    spoken = [block for block in _blocks(turn) if block.type not in ("tool_use", "tool_result", "thinking")]
    text = _text(spoken, where)
    if turn.role == "assistant":
        talk.say("assistant", "\n".join(filter(None, (text, calls_text(calls) if calls else ""))))
    elif text or len(spoken) == len(_blocks(turn)):
        talk.say("user", text)


def _text(content: str | Sequence[Block] | None, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not all(block.type == "text" for block in content):
        raise Refusal(400, "unsupported", "the models here read text only", param=where)
    return "\n".join(block.text or "" for block in content)


class MessagesWire:
    """A reply as Anthropic's events: blocks of text or of calls, one after the other."""

    def __init__(self, model: str, stops: Sequence[str]) -> None:
        """`stops` are the request's own: the model's are no business of the client's."""
        self._tally, self._stops = Tally(), stops
        self._stop: str | None = None
        self._reason = ""
        self._block, self._is_open = -1, False
        self._message: Frame = {
            "id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": self._tally.anthropic(),
        }  # fmt: skip

    def begin(self) -> Iterator[Frame]:
        """Nothing: how long the prompt is comes first, and is known only when it is made."""
        yield from ()

    def take(self, choice: int, what: Said) -> Iterator[Frame]:
        """The events that tell this."""
        match what:
            case Begun(ledger):
                self._tally.prompt = ledger.used_tokens
                message = {**self._message, "usage": self._tally.anthropic(), **ledger_fields(ledger)}
                yield {"type": "message_start", "message": message}
            case Text("", _):
                pass
            case Text(text, _):
                if not self._is_open:
                    yield self._opened({"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case Call(identity, name, arguments):
                yield from self._closed()
                yield self._opened({"type": "tool_use", "id": identity, "name": name, "input": {}})
                yield self._delta({"type": "input_json_delta", "partial_json": arguments})
                yield from self._closed()
            case End(reason, usage, stop):
                self._tally.prompt = 0
                self._tally.add(usage)
                self._reason = reason
                self._stop = stop if stop in self._stops else None
                yield from self._closed()

    def finish(self) -> Iterator[Frame]:
        """Why it ended, and what it took."""
        reason = REASONS[self._reason] if self._stop is None else "stop_sequence"
        delta = {"stop_reason": reason, "stop_sequence": self._stop}
        yield {"type": "message_delta", "delta": delta, "usage": self._tally.anthropic()}
        yield {"type": "message_stop"}

    def whole(self, frames: Iterable[Frame]) -> Frame:
        """The events folded into a message."""
        message = self._message
        for frame in frames:
            match frame["type"]:
                case "message_start":
                    message = {**frame["message"], "content": []}
                case "content_block_start":
                    message["content"].append(dict(frame["content_block"]))
                case "content_block_delta":
                    _fold(message["content"][frame["index"]], frame["delta"])
                case "message_delta":
                    message |= {**frame["delta"], "usage": frame["usage"]}
        return message

    def pack(self, frame: Frame) -> bytes:
        """One event."""
        return event(frame, frame["type"])

    def pack_error(self, refusal: Refusal) -> bytes:
        """An error in the place of the end."""
        return event(anthropic_error(refusal), "error")

    def pack_end(self) -> bytes:
        """Nothing: the last event said that it is the last."""
        return b""

    def _opened(self, block: Frame) -> Frame:
        self._block, self._is_open = self._block + 1, True
        return {"type": "content_block_start", "index": self._block, "content_block": block}

    def _delta(self, delta: Frame) -> Frame:
        return {"type": "content_block_delta", "index": self._block, "delta": delta}

    def _closed(self) -> Iterator[Frame]:
        if self._is_open:
            self._is_open = False
            yield {"type": "content_block_stop", "index": self._block}


def _fold(block: Frame, delta: Frame) -> None:
    if delta["type"] == "text_delta":
        block["text"] += delta["text"]
    else:
        block["input"] = json.loads(delta["partial_json"])
