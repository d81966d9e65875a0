"""Who may ask: the host that is asked for, the page that asks, the token, the form. Facts in, refusal out."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from localchat.server.refusal import Refusal

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
OPEN_PATHS = ("/health", "/docs", "/openapi.json")
"""What these say is the same on every machine: nothing of the user's."""
WITH_BODY = ("POST", "PUT", "PATCH")
JSON_TYPE = "application/json"
HTTP_PORT = 80
PORT = re.compile(r":[0-9]{1,5}\Z")
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in small letters, and values, as they came."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request must show."""

    hosts: frozenset[str]
    """The names, with the port, by which this server may be asked."""
    token: str
    """Empty where none is asked for."""
    any_address_port: int = 0
    """Any IP address with this port is a name as well: for servers that listen on all of them."""
    vouched: frozenset[str] = frozenset()
    """Names that the user has listed: with any port, for what stands in front of the server may have another."""


def access(host: str, port: int, token: str, allowed: Collection[str] = ()) -> Access:
    """What is asked of requests to a server that listens there, and may be asked by the `allowed` names as well.

    A page of a stranger may let its name point to this machine, but it cannot let it be an address: so addresses are
    harmless, and names are listed.
    """
    vouched = frozenset(map(str.lower, allowed))
    listens_everywhere = host in ("0.0.0.0", "::", "")
    names = {*LOCAL_NAMES, *vouched, f"[{host}]" if ":" in host else host} | (
        {socket.gethostname()} if listens_everywhere else set()
    )
    ends = ("", f":{port}") if port == HTTP_PORT else (f":{port}",)
    hosts = frozenset(f"{name.lower()}{end}" for name in names for end in ends)
    return Access(hosts, token, port if listens_everywhere else 0, vouched)


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server that listens there?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refusal(access: Access, method: str, path: str, headers: Headers) -> Refusal | None:
    """Why a request is not let in; None where it is. Nothing of its body was looked at."""
    return (
        _host_refusal(access, _values(headers, b"host"))
        or _page_refusal(access, _values(headers, b"origin"), _values(headers, b"sec-fetch-site"))
        or (None if path in OPEN_PATHS else _token_refusal(access.token, headers))
        or (_form_refusal(_values(headers, b"content-type")) if method in WITH_BODY else None)
    )


def _host_refusal(access: Access, hosts: Sequence[str]) -> Refusal | None:
    if len(hosts) == 1 and (_is_own(access, hosts[0]) or PORT.sub("", hosts[0].lower()) in access.vouched):
        return None
    way = "by an IP address of this machine" if access.any_address_port else "by the address that it printed"
    hint = f"ask it {way}, with the port, or start it with: localchat serve --allow-host NAME"
    return Refusal(403, "host_not_allowed", "this server does not go by that name", hint)


def _is_own(access: Access, host: str) -> bool:
    name, _, port = host.lower().rpartition(":")
    if host.lower() in access.hosts:
        return True
    return bool(access.any_address_port) and port == str(access.any_address_port) and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _page_refusal(access: Access, origins: Sequence[str], sites: Sequence[str]) -> Refusal | None:
    """A browser says which page asks; programs say nothing."""
    is_own = all(_is_own(access, origin.lower().removeprefix("http://")) for origin in origins)
    if is_own and len(origins) < 2 and set(sites) <= {"same-origin", "none"}:
        return None
    return Refusal(403, "origin_not_allowed", "pages of other origins may not use this server")


def _token_refusal(token: str, headers: Headers) -> Refusal | None:
    if not token:
        return None
    given = [_bearer(value) for value in _values(headers, b"authorization")] + _values(headers, b"x-api-key")
    if given and all(hmac.compare_digest(one.encode("latin-1"), token.encode()) for one in given):
        return None
    hint = "send it as the API key; `localchat serve` says where it is"
    return Refusal(401, "invalid_api_key", "the token is missing or wrong", hint)


def _bearer(value: str) -> str:
    kind, _, token = value.partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _form_refusal(types: Sequence[str]) -> Refusal | None:
    if len(types) == 1 and types[0].partition(";")[0].strip().lower() == JSON_TYPE:
        return None
    return Refusal(415, "unsupported_media_type", f"the content type must be {JSON_TYPE}")


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]
