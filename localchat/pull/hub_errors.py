"""What the Hub and the network answer instead of a model, in one sentence and a next step each.

A token is never shown, only where it was found.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2

from localchat.errors import LocalchatError
from localchat.pull.source import endpoint
from localchat.pull.token import is_forbidden, token
from localchat.text import duration, one_line

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
WAIT_LIMIT_SECONDS = 24 * 3600.0
BAD_TOKEN = ("Invalid credentials in Authorization header", "Invalid user token", "User Access Token")
UNKNOWN = (401, "Invalid username or password.")  # what the Hub says of what it does not have to those without a token


class NoRepository(LocalchatError):
    """The Hub has no such repository, or not for everybody."""


class Unreachable(LocalchatError):
    """The Hub could not be asked."""


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turns what huggingface_hub and the network raise into one sentence and a next step."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except HFValidationError as error:
        raise LocalchatError(f"{repo!r} is not a name of a repository", "it reads owner/repo") from error
    except OfflineModeIsEnabled as error:
        raise Unreachable(
            "HF_HUB_OFFLINE is set, so the Hub is not asked", "unset it, or pull from a folder or a .gguf file"
        ) from error
    except HfHubHTTPError as error:
        raise refusal(error.response, repo) from error
    except httpx2.HTTPError as error:
        found = offline_error(error)
        raise Unreachable(str(found), found.hint) from error
    except httpx2.InvalidURL as error:
        raise LocalchatError(f"{one_line(endpoint(), 80)} is no address of a Hub", "look at HF_ENDPOINT") from error


def refusal(response: httpx2.Response, repo: str) -> LocalchatError:
    """What the Hub means by an answer that is none of success."""
    code, words = (response.headers.get(f"X-Error-{name}", "") for name in ("Code", "Message"))
    if words.startswith(BAD_TOKEN):
        return bad_token_error()
    if code == "GatedRepo":
        return gated_error(repo)
    if code == "RepoNotFound" or (response.status_code, words) == UNKNOWN:
        return NoRepository(*missing_words(repo))
    if code == "RevisionNotFound":
        return LocalchatError(
            f"{repo} has no such revision",
            f"leave --revision out to get the newest, or choose one of {endpoint()}/{repo}/commits/main",
        )
    if words.startswith("Access to this resource is disabled"):
        return LocalchatError(f"the Hub has closed {repo}", "choose another model: localchat catalog")
    return http_error(response.status_code, repo, response.headers.get("Retry-After", ""))


def gated_error(repo: str) -> LocalchatError:
    """The authors want something of the user first."""
    message, page = f"{repo} is gated: its authors want you to accept their terms first", f"{endpoint()}/{repo}"
    if (place := token_place()) is None:
        return LocalchatError(message, f"accept them on {page}, then {how_to_log_in()}")
    hint = f"the token {place} was sent: accept the terms on {page} with the account that it belongs to"
    return LocalchatError(message, f"{hint}; a fine-grained token must be allowed to read gated repositories")


def bad_token_error() -> LocalchatError:
    """The Hub knows no such token."""
    place = token_place() or "that was sent"
    return LocalchatError(
        f"the Hub does not accept the token {place}: it is wrong, or it has expired",
        f"make a new one on {endpoint()}/settings/tokens, or unset it: most models need none",
    )


def missing_words(repo: str, near: Sequence[str] = ()) -> tuple[str, str]:
    """There is no such repository, or it is not for everybody, and what to do; `near` are names that there are."""
    place = token_place()
    private = f"if it is private, {f'the token {place} may not read it' if place else how_to_log_in()}"
    hint = f"did you mean {' or '.join(near)}? Else, {private}" if near else f"check the spelling; {private}"
    return f"the Hub has no repository {repo}, or it is private", hint


def token_place() -> str | None:
    """Where the token comes from that is sent to the Hub; None where there is none. Never its value."""
    from huggingface_hub import constants

    if token() is None:
        return None
    for name in TOKEN_VARIABLES:
        if os.environ.get(name, "").strip():
            return f"in {name}"
    return f"of the login saved in {constants.HF_TOKEN_PATH}"


def how_to_log_in() -> str:
    """How to get a token and where to put it."""
    if is_forbidden():
        return "unset HF_HUB_DISABLE_IMPLICIT_TOKEN, by which no token is sent"
    return f"set HF_TOKEN to a token of your account ({endpoint()}/settings/tokens), or run: hf auth login"


def http_error(status: int, repo: str, retry_after: str = "") -> LocalchatError:
    """What a status of the Hub means; `retry_after` is what its header of this name says."""
    if status == 429:
        return busy_error(retry_after)
    if status in (401, 403):
        place = token_place()
        hint = f"the token {place} may not read it; take another" if place else how_to_log_in()
        return LocalchatError(f"the Hub refuses access to {repo} ({status})", hint)
    if status == 404:
        return LocalchatError(f"the Hub did not find what was asked of {repo} (404)", "check the name and try again")
    if status == 407:
        return LocalchatError("the proxy wants a name and a password (407)", "put them into HTTPS_PROXY")
    if status == 416:
        return LocalchatError(f"a file of {repo} is shorter than the Hub says (416)", "run the same command again")
    return LocalchatError(f"the Hub answered with the error {status}", "try again later")


def busy_error(retry_after: str) -> LocalchatError:
    """The Hub was asked too often."""
    seconds = wait_seconds(retry_after)
    wait = f"wait {duration(seconds)}" if seconds else "wait some minutes"
    more = "" if token_place() else "; with a token of your account more is allowed"
    return LocalchatError("the Hub asks for a pause: too many requests", f"{wait} and try again{more}")


def wait_seconds(retry_after: str) -> float:
    """The time to wait that a header asks for, in seconds or as a date; 0 where it says nothing of use."""
    try:
        found = float(retry_after)
    except ValueError:
        try:
            when = parsedate_to_datetime(retry_after)
        except ValueError:
            return 0.0
        found = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(found, WAIT_LIMIT_SECONDS) if found > 0 else 0.0


def offline_error(error: Exception) -> LocalchatError:
    """What it means that the Hub, or where it keeps its files, could not be reached."""
    host, again = _host(error), "what was downloaded is kept"
    causes = list(_causes(error))
    if isinstance(error, httpx2.TimeoutException):
        return LocalchatError(f"{host} did not answer in time", f"check the network and try again; {again}")
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return LocalchatError(
            f"{host} cannot be reached: its name is not known here, so there is no network, or no name server",
            f"check the network and try again; {again}",
        )
    if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        return _tls_error(host, tls)
    if isinstance(error, httpx2.ProxyError):
        return LocalchatError(f"the proxy does not let {host} be reached", "look at HTTPS_PROXY and NO_PROXY")
    if isinstance(error, httpx2.TooManyRedirects):
        return not_a_hub()
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return LocalchatError(f"the connection to {host} was cut", f"try again; {again}")
    return LocalchatError(f"{host} cannot be reached", f"check the network and try again; {again}")


def _tls_error(host: str, error: ssl.SSLError) -> LocalchatError:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return LocalchatError(f"no safe connection to {host} can be made", "check the network and its proxy")
    why = one_line(error.verify_message or "it is not trusted", 80)
    return LocalchatError(
        f"the certificate of {host} is not accepted: {why}",
        "check the clock; behind a proxy that reads along, set SSL_CERT_FILE to its certificate",
    )


def not_a_hub() -> LocalchatError:
    """Somebody else answered: the page on which a hotel's network wants a name, or a wrong address."""
    return LocalchatError(
        f"{endpoint()} does not answer as a Hub does",
        "this network may want you to sign in first: open a page in a browser; else look at HF_ENDPOINT",
    )


def _host(error: Exception) -> str:
    """The scheme and host that was asked."""
    try:
        url = error.request.url if isinstance(error, httpx2.RequestError) else None
    except RuntimeError:  # it has none
        url = None
    parts = urlsplit(str(url)) if url is not None else None
    return f"{parts.scheme}://{parts.netloc}" if parts and parts.netloc else endpoint()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
