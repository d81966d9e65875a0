"""OpenAI's completions: text that goes on, without a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field

from localchat.engine.events import TokenProbability
from localchat.server.answering import Frame
from localchat.server.asking import Ask
from localchat.server.refusal import Refusal
from localchat.server.said import Begun, End, Said, Text
from localchat.server.wire.chat import StreamOptions
from localchat.server.wire.chunks import Chunks
from localchat.server.wire.fields import Choices, Name, SampledWire, Token, Tokens

USUAL_TOKENS = 16  # as in OpenAI's API
TOKENS_LIMIT = 1 << 20


class CompletionRequest(SampledWire):
    """`POST /v1/completions`."""

    model: Name
    prompt: str | Annotated[list[str] | list[Token], Field(min_length=1, max_length=TOKENS_LIMIT)]
    max_tokens: Tokens | None = None
    n: Choices | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def ask(self) -> Ask:
        """What is asked. Raises Refusal for what cannot be done."""
        if self.suffix:
            raise Refusal(400, "unsupported", "a suffix is not supported", "leave it out", param="suffix")
        if (self.best_of or 1) > (self.n or 1):
            raise Refusal(400, "unsupported", "best_of is not supported", "leave it out", param="best_of")
        changes = self.changes(self.max_tokens or USUAL_TOKENS)
        if self.logprobs is not None:
            changes["logprobs"] = self.logprobs
        return Ask(prompt=self._prompt(), changes=changes, stops=self.stops, choices=self.n or 1)

    @property
    def echoed(self) -> str:
        """What is put before each choice."""
        prompt = self._prompt()
        return prompt if self.echo and isinstance(prompt, str) else ""

    def _prompt(self) -> str | tuple[int, ...]:
        if isinstance(self.prompt, str):
            return self.prompt
        texts = [entry for entry in self.prompt if isinstance(entry, str)]
        if len(texts) > 1:
            raise Refusal(400, "unsupported", "several prompts in one request are not supported",
                          "send a request for each", param="prompt")  # fmt: skip
        return texts[0] if texts else tuple(entry for entry in self.prompt if isinstance(entry, int))


class CompletionWire(Chunks):
    """A text as chunks."""

    def __init__(self, model: str, *, tells_usage: bool, echoed: str = "") -> None:
        super().__init__(model, "cmpl", "text_completion", tells_usage=tells_usage)
        self._echoed = echoed

    def take(self, choice: int, what: Said) -> Iterator[Frame]:
        """The chunk that tells this."""
        match what:
            case Begun() if self._echoed:
                yield self._chunk(choice, self._echoed)
            case Text(text, logprobs):
                yield self._chunk(choice, text, _logprobs(logprobs) if logprobs else None)
            case End(reason, usage):
                self._tally.add(usage)
                yield self._chunk(choice, "", reason=reason)

    def whole(self, frames: Iterable[Frame]) -> Frame:
        """The chunks folded into one."""
        choices: dict[int, Frame] = {}
        answer: Frame = dict(self._head)
        for frame in frames:
            answer |= {key: value for key, value in frame.items() if key != "choices"}
            for told in frame["choices"]:
                number = told["index"]
                choices[number] = _joined(choices[number], told) if number in choices else told
        return {**answer, "choices": [choices[number] for number in sorted(choices)]}

    def _chunk(self, choice: int, text: str, logprobs: Frame | None = None, *, reason: str | None = None) -> Frame:
        return {**self._head, "choices": [
            {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}
        ]}  # fmt: skip


def _joined(first: Frame, second: Frame) -> Frame:
    logprobs = first["logprobs"] or second["logprobs"]
    if first["logprobs"] and second["logprobs"]:
        for key, values in logprobs.items():
            values += second["logprobs"][key]
    return {
        **first, "text": first["text"] + second["text"], "logprobs": logprobs,
        "finish_reason": second["finish_reason"] or first["finish_reason"],
    }  # fmt: skip


def _logprobs(found: Iterable[TokenProbability]) -> Frame:
    return {
        "tokens": [one.text for one in found],
        "token_logprobs": [max(-9999.0, one.logprob) for one in found],
        "top_logprobs": [{text: max(-9999.0, logprob) for text, logprob in one.likeliest} for one in found],
    }
