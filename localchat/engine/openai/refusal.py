"""What went wrong between us and a server, as a sentence and a next step. The token is in none of them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from localchat.engine.openai.address import TOKEN_HINT, Address
from localchat.engine.openai.fields import complaint, parsed
from localchat.errors import LocalchatError
from localchat.text import one_line

TRUST_HINT = "if you trust the server, name the file of its certificate in SSL_CERT_FILE"
MEANINGS: dict[int, tuple[str, str]] = {
    401: ("refuses access", TOKEN_HINT),
    403: ("refuses access", TOKEN_HINT),
    404: ("does not have what was asked for", "check the address and the name of the model"),
    413: ("finds the conversation too long", "shorten it, or begin a new one"),
    429: ("asks for a pause: too many requests", "wait a minute and try again"),
}
REFUSED = ("refuses the request", "check the options and the length of the conversation")
FAILED = ("failed", "try again later, or look into the server's log")


class Refused(LocalchatError):
    """The server's answer is an error."""

    def __init__(self, message: str, hint: str, status: int, words: str) -> None:
        super().__init__(message, hint)
        self.status = status
        self.words = words
        """The server's own."""


def refused(address: Address, status: int, body: bytes, location: str, token: str) -> Refused:
    """What a status that is not 200 means."""
    words = server_words(body, token)
    if 300 <= status < 400:
        place = one_line(location, 120).replace(token, "…") if token else one_line(location, 120)
        return Refused(
            f"{address.host} sends to another address: {place or 'none'}", "use that one if you trust it", status, words
        )
    is_too_long = status == 400 and "context" in words.lower()
    what, hint = MEANINGS.get(413 if is_too_long else status) or (FAILED if status >= 500 else REFUSED)
    said = f": {words}" if words else ""
    return Refused(f"{address.host} {what} ({status}){said}", hint, status, words)


def server_words(body: bytes, token: str) -> str:
    """The server's own message in the body of an error, without the token, which some repeat."""
    try:
        words = complaint(parsed(body))
    except LocalchatError:
        return ""
    return words.replace(token, "…") if token else words


def broken_off(address: Address) -> LocalchatError:
    """The reply ended in its middle."""
    return LocalchatError(f"{address.host}: the server broke off", "ask again; what was written is kept")


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn the failures of the connection into sentences."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise LocalchatError(f"{address.host} did not answer in time", "check the server and try again") from error
    except (httpx2.ConnectError, httpx2.ProxyError) as error:
        raise _unreachable(address, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise broken_off(address) from error


def _unreachable(address: Address, error: httpx2.TransportError) -> LocalchatError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = one_line(cause.verify_message, 120)
            return LocalchatError(f"the certificate of {address.host} cannot be trusted: {reason}", TRUST_HINT)
        if isinstance(cause, ssl.SSLError):
            return LocalchatError(f"{address.host} does not speak TLS as it should", "is it http:// and not https://?")
        cause = cause.__cause__ or cause.__context__
    return LocalchatError(
        f"{address.host} cannot be reached: {one_line(str(error), 120)}",
        "is the server running, and the address right?",
    )
