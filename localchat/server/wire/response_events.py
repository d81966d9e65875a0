"""The events of OpenAI's responses."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from localchat.server.answering import Frame, event
from localchat.server.refusal import Refusal, openai_error
from localchat.server.said import Begun, End, Said, Text
from localchat.server.tools import Call
from localchat.server.wire.tally import Tally, ledger_fields


class ResponseWire:
    """A reply as events: items of output, with parts, with pieces; the last event has the whole answer in it."""

    def __init__(self, model: str, about: Frame, keep: Callable[[Frame], None]) -> None:
        """`about` is what the answer repeats of the request; `keep` gets the answer when it is whole."""
        self._keep, self._tally, self._number = keep, Tally(), -1
        self._text: list[str] | None = None
        self._answer: Frame = {
            "id": f"resp_{secrets.token_hex(12)}", "object": "response", "created_at": int(time.time()),
            "status": "in_progress", "error": None, "incomplete_details": None, "model": model, "output": [],
            "usage": None, **about,
        }  # fmt: skip

    def begin(self) -> Iterator[Frame]:
        """It has been taken."""
        yield self._event("response.created", response={**self._answer})
        yield self._event("response.in_progress", response={**self._answer})

    def take(self, choice: int, what: Said) -> Iterator[Frame]:
        """The events that tell this."""
        match what:
            case Begun(ledger):
                self._answer |= ledger_fields(ledger)
            case Text("", _):
                pass
            case Text(text, _):
                if self._text is None:
                    yield from self._opened()
                yield self._piece("response.output_text.delta", delta=text, logprobs=[])
                assert self._text is not None, "the message was opened"
                self._text.append(text)
            case Call():
                yield from self._called(what)
            case End(reason, usage):
                self._tally.add(usage)
                yield from self._closed()
                is_cut = reason == "length"
                self._answer["status"] = "incomplete" if is_cut else "completed"
                self._answer["incomplete_details"] = {"reason": "max_output_tokens"} if is_cut else None

    def finish(self) -> Iterator[Frame]:
        """The whole answer."""
        self._answer["usage"] = self._tally.responses()
        self._keep(self._answer)
        yield self._event(f"response.{self._answer['status']}", response=self._answer)

    def whole(self, frames: Iterable[Frame]) -> Frame:
        """The answer in the last event."""
        *_, last = frames
        answer: Frame = last["response"]
        return answer

    def pack(self, frame: Frame) -> bytes:
        """One event."""
        return event(frame, frame["type"])

    def pack_error(self, refusal: Refusal) -> bytes:
        """An error in the place of the end."""
        error = openai_error(refusal)["error"]
        failed = {**self._answer, "status": "failed", "error": {"code": "server_error", "message": error["message"]}}
        return self.pack(self._event("response.failed", response=failed))

    def pack_end(self) -> bytes:
        """Nothing: the last event said that it is the last."""
        return b""

    def _event(self, kind: str, **fields: Any) -> Frame:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}

    def _piece(self, kind: str, **fields: Any) -> Frame:
        """An event about the part of the message that is being written."""
        place = {"item_id": self._item["id"], "output_index": len(self._answer["output"]), "content_index": 0}
        return self._event(kind, **place, **fields)

    def _opened(self) -> Iterator[Frame]:
        """A message begins."""
        self._text = []
        self._item: Frame = {
            "id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "status": "in_progress",
            "content": [],
        }  # fmt: skip
        index = len(self._answer["output"])
        yield self._event("response.output_item.added", output_index=index, item=dict(self._item))
        yield self._piece("response.content_part.added", part=_part(""))

    def _closed(self) -> Iterator[Frame]:
        """The message, if one is being written, is complete."""
        if self._text is None:
            return
        text, self._text = "".join(self._text), None
        self._item |= {"status": "completed", "content": [_part(text)]}
        yield self._piece("response.output_text.done", text=text, logprobs=[])
        yield self._piece("response.content_part.done", part=_part(text))
        yield from self._done(self._item)

    def _called(self, call: Call) -> Iterator[Frame]:
        yield from self._closed()
        item = {
            "id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": call.id, "name": call.name,
            "arguments": call.arguments, "status": "completed",
        }  # fmt: skip
        index = len(self._answer["output"])
        begun = {**item, "arguments": "", "status": "in_progress"}
        place = {"item_id": item["id"], "output_index": index}
        yield self._event("response.output_item.added", output_index=index, item=begun)
        yield self._event("response.function_call_arguments.delta", **place, delta=call.arguments)
        yield self._event("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
        yield from self._done(item)

    def _done(self, item: Frame) -> Iterator[Frame]:
        yield self._event("response.output_item.done", output_index=len(self._answer["output"]), item=item)
        self._answer["output"].append(item)


def _part(text: str) -> Frame:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
