"""Where a server is, as the user wrote it, checked before anything is sent there."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import httpx2

from localchat.errors import LocalchatError
from localchat.text import one_line

EXAMPLE = "write it like http://localhost:8000/v1"
TOKEN_HINT = "give the token with --token or LOCALCHAT_REMOTE_TOKEN"
HOST_NAME = re.compile(r"[\w\-]{1,63}(\.[\w\-]{1,63}){0,20}\.?|[0-9a-fA-F.]*:[0-9a-fA-F:.]{1,45}", re.ASCII)
VERSION = re.compile(r"/v\d\w*(/|$)")
HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address."""

    url: str
    """Without a slash at its end."""
    host: str
    """As it is shown: with the port, where one was given."""
    is_here: bool
    """Is it this machine?"""

    @property
    def roots(self) -> tuple[str, ...]:
        """Where its API may begin, the likeliest first."""
        return (self.url,) if VERSION.search(self.url) else (f"{self.url}/v1", self.url)


def address_of(text: str) -> Address:
    """The address. Raises LocalchatError, without repeating the text: there may be a password in it."""
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as error:
        raise LocalchatError("this is no address of a server", EXAMPLE) from error
    if url.userinfo:
        raise LocalchatError("the address has a name or password in it", TOKEN_HINT)
    if url.scheme not in ("http", "https"):
        raise LocalchatError("the address of a server begins with http:// or https://", EXAMPLE)
    if not HOST_NAME.fullmatch(url.raw_host.decode("ascii")) or not 0 < (url.port or 1) <= HIGHEST_PORT:
        raise LocalchatError("the address names no host", EXAMPLE)
    if url.query or url.fragment:
        raise LocalchatError("the address has a ? or # in it", f"leave out what follows: {EXAMPLE}")
    plain = str(url).rstrip("/").removesuffix("/chat/completions").removesuffix("/models")
    return Address(plain, one_line(url.netloc.decode("ascii"), 80), _is_here(url.host))


def checked_token(token: str) -> str:
    """The token without the space around it. Raises LocalchatError, without repeating it, where it cannot be one."""
    token = token.strip()
    if not all("!" <= character <= "~" for character in token):
        raise LocalchatError("the token has spaces or other characters in it that no token has", TOKEN_HINT)
    return token


def _is_here(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
