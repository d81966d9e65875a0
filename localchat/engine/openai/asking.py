"""Requests to one server: to its address alone, redirects not followed, everything bounded in size and time."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import httpx2

from localchat.engine.openai.address import Address
from localchat.engine.openai.fields import parsed
from localchat.engine.openai.pump import Put, pumped
from localchat.engine.openai.refusal import REFUSED, explained, refused, server_words
from localchat.engine.openai.stream import EventStream
from localchat.errors import LocalchatError

CONNECT_SECONDS = 10.0
FACTS_SECONDS = 30.0
SILENCE_SECONDS = 900.0  # a long conversation is read for minutes, and servers say nothing meanwhile
FACTS_LIMIT_BYTES = 16 << 20
ERROR_LIMIT_BYTES = 64 << 10
STREAM_TYPE = "text/event-stream"


class Asking:
    """A server that can be asked. Holds no connection."""

    def __init__(self, address: Address, token: str) -> None:
        self.address = address
        self._token = token

    def facts(self, url: str) -> Any:
        """The JSON at a URL. Raises LocalchatError, Refused."""
        return asyncio.run(self._facts(url))

    def events(self, url: str, body: Mapping[str, Any]) -> Generator[str | None]:
        """The data of the events that a question is answered with, and None whenever nothing came for a while.

        Closing it closes the connection. Raises LocalchatError, Refused.
        """

        async def work(put: Put[str]) -> None:
            stream = EventStream()
            content = json.dumps(body).encode()
            async with self._response("POST", url, {"Accept": STREAM_TYPE}, content) as response:
                await self._check_type(response)
                async for piece in response.aiter_raw():
                    for data in stream.feed(piece):
                        put(data)

        return pumped(work)

    async def _facts(self, url: str) -> Any:
        try:
            async with asyncio.timeout(FACTS_SECONDS), self._response("GET", url, {}) as response:
                return parsed(await self._read(response, FACTS_LIMIT_BYTES))
        except TimeoutError as error:
            raise LocalchatError(
                f"{self.address.host} did not answer in time", "check the server and try again"
            ) from error

    @asynccontextmanager
    async def _response(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """The answer, whose body is to be read. Raises Refused where it is not good."""
        headers = {**headers, **({"Content-Type": "application/json"} if content else {})}
        with explained(self.address):
            async with (
                self._client() as client,
                client.stream(method, url, headers=headers, content=content) as response,
            ):
                if response.status_code != 200:
                    body = await self._read(response, ERROR_LIMIT_BYTES, is_whole=False)
                    location = response.headers.get("Location", "")
                    raise refused(self.address, response.status_code, body, location, self._token)
                yield response

    def _client(self) -> httpx2.AsyncClient:
        """A new one each time: nothing is kept from one question to the next, no cookie and no connection."""
        known = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return httpx2.AsyncClient(
            headers={"User-Agent": "localchat", "Accept-Encoding": "identity", **known},
            timeout=httpx2.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not self.address.is_here,  # no proxy stands between this machine and itself
            verify=self._tls,
            follow_redirects=False,
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """What certificates are checked with. To read those of the system takes a while, so only where it matters."""
        is_bare = self.address.is_here and self.address.url.startswith("http://")
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_bare else httpx2.create_ssl_context()

    async def _check_type(self, response: httpx2.Response) -> None:
        kind = response.headers.get("Content-Type", STREAM_TYPE).partition(";")[0].strip().lower()
        if kind == STREAM_TYPE and response.headers.get("Content-Encoding", "identity") == "identity":
            return
        if kind == "application/json":
            body = await self._read(response, ERROR_LIMIT_BYTES, is_whole=False)
            if words := server_words(body, self._token):
                raise LocalchatError(f"{self.address.host} refuses the request: {words}", REFUSED[1])
        raise LocalchatError(f"{self.address.host} does not answer with a stream of events", "check the address")

    async def _read(self, response: httpx2.Response, limit: int, *, is_whole: bool = True) -> bytes:
        """The body; where it need not be whole, its beginning. Raises LocalchatError for one that is too long."""
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > limit:
                if is_whole:
                    raise LocalchatError(f"{self.address.host} answers with far too much", "check the address")
                break
        return bytes(body[:limit])
