"""What is answered in the place of a reply: a status, a sentence, a code for programs."""

from __future__ import annotations

from typing import Any

from localchat.errors import BadFile, ContextFull, EngineDied, LocalchatError, NoMemory
from localchat.text import one_line

MESSAGE_CHARACTERS = 500
LEFT_STATUS = 499  # others write it into their logs for a client that left
KINDS = {  # what both protocols call it
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    403: ("permission_error", "permission_error"),
    404: ("not_found_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    408: ("timeout_error", "timeout_error"),
    413: ("request_too_large", "request_too_large"),
    415: ("invalid_request_error", "invalid_request_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    504: ("timeout_error", "timeout_error"),
    503: ("overloaded_error", "overloaded_error"),
}
UNKNOWN_KIND = ("server_error", "api_error")


class Refusal(LocalchatError):
    """A request that gets no reply, or a reply that ends before its end."""

    def __init__(
        self, status: int, code: str, message: str, hint: str = "", *, param: str | None = None, wait_seconds: int = 0
    ) -> None:  # fmt: skip
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.param = param
        """The field of the request that is at fault."""
        self.wait_seconds = wait_seconds
        """After which it is worth to ask again; 0 where that cannot be said."""

    @property
    def words(self) -> str:
        """The sentence, and what to do next."""
        return one_line(f"{self}; {self.hint}" if self.hint else str(self), MESSAGE_CHARACTERS)

    @property
    def headers(self) -> dict[str, str]:
        """Those that belong to it."""
        return {"retry-after": str(self.wait_seconds)} if self.wait_seconds else {}


def left() -> Refusal:
    """Nobody reads it; a new one each time, because an exception keeps where it was raised."""
    return Refusal(LEFT_STATUS, "client_left", "the client has left")


def refusal_of(error: LocalchatError) -> Refusal:
    """What an error means to whoever asked; hints that may name files of this machine do not go out."""
    match error:
        case Refusal():
            return error
        case ContextFull():
            hint = 'shorten it, or send "truncation": "auto", and the oldest turns leave'
            return Refusal(400, "context_length_exceeded", str(error), hint, param="messages")
        case NoMemory():
            return Refusal(503, "not_enough_memory", "there is not enough memory for the model", wait_seconds=30)
        case EngineDied():
            return Refusal(500, "engine_stopped", "the engine stopped while it worked on this", "ask again")
        case BadFile():
            return Refusal(500, "model_damaged", "the model is damaged", "verify it where it is installed")
    return Refusal(400, "invalid_request", str(error), error.hint)


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """As OpenAI's API writes it."""
    kind = KINDS.get(refusal.status, UNKNOWN_KIND)[0]
    return {"error": {"message": refusal.words, "type": kind, "param": refusal.param, "code": refusal.code}}


def anthropic_error(refusal: Refusal) -> dict[str, Any]:
    """As Anthropic's API writes it."""
    kind = KINDS.get(refusal.status, UNKNOWN_KIND)[1]
    return {"type": "error", "error": {"type": kind, "message": refusal.words}}


def error_body(path: str, refusal: Refusal) -> dict[str, Any]:
    """In the form of the protocol that this path belongs to."""
    return anthropic_error(refusal) if path.startswith("/v1/messages") else openai_error(refusal)
