"""A model that runs elsewhere: any server that speaks OpenAI's API (vLLM, llama-server, another localchat)."""

from __future__ import annotations

import difflib
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

from localchat.conversation import Message
from localchat.engine.events import Done, Event, Loaded, Piece, Reason, Usage, Waiting
from localchat.engine.openai.address import Address, address_of, checked_token
from localchat.engine.openai.asking import Asking
from localchat.engine.openai.fields import (
    Delta,
    Served,
    blames_extensions,
    complaint,
    delta_of,
    parsed,
    request_body,
    served_models,
    slot_window,
)  # fmt: skip
from localchat.engine.openai.refusal import Refused, broken_off
from localchat.errors import LocalchatError
from localchat.sampling import Sampling

END = "[DONE]"
GRACE_SECONDS = 2.0  # for what some servers say of a reply after its end
BAD_FIELDS = (400, 422)
NAMES_SHOWN = 8


class RemoteEngine:
    """Answers conversations: the server makes the prompt, because the template and the tokens are its own."""

    def __init__(self, url: str, model: str = "", token: str = "") -> None:
        """Ask the server for its models and choose one: the named one, or else the only one. Raises LocalchatError."""
        self._token = checked_token(token)
        self._asking = Asking(address_of(url), self._token)
        self._root, known = self._find_models()
        served = _chosen(known, model, self.address)
        self._takes_grammar = served.is_llama_server
        self._is_plain = False
        self.model = served.name
        self.loaded = Loaded(
            context=(served.is_llama_server and self._slot_window()) or served.context,
            layers=0, template=None, bos="", eos="", adds_bos=None, special_tokens={}, sampling={},
        )  # fmt: skip

    @property
    def address(self) -> Address:
        """Where the server is."""
        return self._asking.address

    def answer(self, messages: Sequence[Message], sampling: Sampling, stops: Sequence[str]) -> Generator[Event]:
        """Answer the last message; closing the iterator closes the connection, and the server stops.

        Raises LocalchatError. A server that refuses fields which OpenAI's API does not have is asked without them.
        """
        if sampling.grammar and not self._takes_grammar:
            raise LocalchatError(
                f"{self.address.host} cannot be given a grammar", "leave it out, or use a llama-server or a model here"
            )
        full, plain = (request_body(self.model, messages, sampling, stops, is_plain=flag) for flag in (False, True))
        if sampling.grammar or (full != plain and not self._is_plain):
            try:
                yield from self._written(full)
                return
            except Refused as refusal:
                if refusal.status not in BAD_FIELDS or sampling.grammar or not blames_extensions(refusal.words):
                    raise
                self._is_plain = True
        yield from self._written(plain)

    def close(self) -> None:
        """Nothing is held between two replies."""

    def _written(self, body: Mapping[str, Any]) -> Generator[Event]:
        """The events of one request."""
        tally = _Tally()
        try:
            with closing(self._asking.events(f"{self._root}/chat/completions", body)) as stream:
                for data in stream:
                    if data == END or (data is None and tally.is_overdue):
                        tally.reason = tally.reason or "stop"
                        break
                    piece = tally.take(self._delta(data)) if data is not None else None
                    if piece:
                        yield piece
                    elif tally.reason is None:
                        yield Waiting()
        except LocalchatError:
            if tally.reason is None:  # else only what would have followed the reply is missing
                raise
        if tally.reason is None:
            raise broken_off(self.address)
        yield Done(tally.reason, tally.usage())

    def _delta(self, data: str) -> Delta:
        raw = parsed(data)
        if not isinstance(raw, dict):
            raise LocalchatError(f"{self.address.host} answers nonsense", "check what runs there")
        if raw.get("error") or raw.get("object") == "error":
            words = complaint(raw) or "it does not say why"
            words = words.replace(self._token, "…") if self._token else words
            raise LocalchatError(f"{self.address.host} stopped the reply: {words}", "try again, or begin anew")
        return delta_of(raw)

    def _find_models(self) -> tuple[str, list[Served]]:
        """Where the API begins, and the models there."""
        *guesses, last = self.address.roots
        for root in guesses:
            try:
                return root, served_models(self._asking.facts(f"{root}/models"))
            except Refused as refusal:
                if refusal.status != 404:
                    raise
        return last, served_models(self._asking.facts(f"{last}/models"))

    def _slot_window(self) -> int:
        """What a llama-server gives each conversation, which may be less than its model could read."""
        try:
            return slot_window(self._asking.facts(f"{self._root.removesuffix('/v1')}/props"))
        except LocalchatError:
            return 0  # it can be switched off


class _Tally:
    """What a reply came to so far, and when."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.pieces = 0
        self._held = ""
        self._usage: Mapping[str, int] = {}
        self._started = time.perf_counter()
        self._first_at = self._last_at = 0.0
        self._ended_at = 0.0

    @property
    def is_overdue(self) -> bool:
        """Is the reply over for so long that nothing more is to be said of it?"""
        return self.reason is not None and time.perf_counter() - self._ended_at > GRACE_SECONDS

    def take(self, delta: Delta) -> Piece | None:
        """What can be shown now."""
        now = time.perf_counter()
        if delta.reason and not self.reason:
            self.reason, self._ended_at = delta.reason, now
        self._usage = delta.usage or self._usage
        if delta.text:
            self.pieces += 1
            self._first_at, self._last_at = self._first_at or now, now
        text, self._held = _whole(self._held + delta.text)
        return Piece(text, self.pieces, delta.logprobs) if text or delta.logprobs else None

    def usage(self) -> Usage:
        """The server's counts, or as many tokens as there were pieces; times are measured here."""
        first = self._first_at or time.perf_counter()
        return Usage(
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            cached_tokens=self._usage.get("cached_tokens", 0),
            completion_tokens=self._usage.get("completion_tokens", 0) or self.pieces,
            first_token_seconds=first - self._started,
            reading_seconds=first - self._started,
            writing_seconds=max(0.0, self._last_at - first),
        )


def _whole(text: str) -> tuple[str, str]:
    """The text with the halves of characters joined, and a half at its end that waits for the other.

    Servers written in languages of UTF-16 may cut a character in two.
    """
    held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    shown = text.removesuffix(held)
    return shown.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), held


def _chosen(known: Sequence[Served], name: str, address: Address) -> Served:
    """The named model, or the only one; of a path, the last part is enough. Raises LocalchatError with all names."""
    for found in (
        [served for served in known if name in ("", served.name)],
        [served for served in known if served.name.rpartition("/")[2] == name],
    ):
        if len(found) == 1:
            return found[0]
    if not known:
        raise LocalchatError(f"{address.host} offers no model", "load one there, and check the address")
    names = [served.name for served in known]
    shown = (difflib.get_close_matches(name, names, NAMES_SHOWN, 0.5) if name else []) or names[:NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    message = f"{address.host} has no model {name!r}" if name else f"{address.host} offers {len(names)} models"
    raise LocalchatError(message, f"name one of them: {', '.join(shown)}{more}")
