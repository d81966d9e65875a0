"""OpenAI's embeddings."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from localchat.engine.events import Embedded
from localchat.engine.vector import unpacked
from localchat.server.embedding import Texts
from localchat.server.refusal import Refusal
from localchat.server.wire.fields import Identity, Name, Token, Wire

INPUTS_LIMIT = 2048  # as in OpenAI's API
TOKENS_LIMIT = 1 << 20
DIMENSIONS_LIMIT = 1 << 20
DIGITS = 9  # tell any two float32 apart

Form = Literal["float", "base64"]
Inputs = Field(min_length=1, max_length=INPUTS_LIMIT)
TokenList = Annotated[list[Token], Field(min_length=1, max_length=TOKENS_LIMIT)]


class EmbeddingsRequest(Wire):
    """`POST /v1/embeddings`."""

    model: Name
    input: str | Annotated[list[str], Inputs] | TokenList | Annotated[list[TokenList], Inputs]
    encoding_format: Form | None = None
    dimensions: Annotated[int, Field(ge=1, le=DIMENSIONS_LIMIT)] | None = None
    user: Identity | None = None

    def texts(self) -> Texts:
        """What becomes vectors. Raises Refusal where that is nothing."""
        found = self._texts()
        if not all(found):
            raise Refusal(400, "invalid_request", "a text is empty", "leave it out", param="input")
        return found

    def _texts(self) -> Texts:
        if isinstance(self.input, str):
            return [self.input]
        if tokens := [entry for entry in self.input if isinstance(entry, int)]:
            return [tokens]
        if texts := [entry for entry in self.input if isinstance(entry, str)]:
            return texts
        return [entry for entry in self.input if isinstance(entry, list)]


def told(model: str, found: Sequence[Embedded], form: Form) -> bytes:
    """The answer. It may be long: what belongs to each vector is text at once."""
    tokens = sum(one.prompt_tokens for one in found)
    rest = {"model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    data = ",".join(
        f'{{"object":"embedding","index":{index},"embedding":{_written(one.vector, form)}}}'
        for index, one in enumerate(found)
    )
    return f'{{"object":"list","data":[{data}],{json.dumps(rest)[1:]}'.encode()


def _written(vector: bytes, form: Form) -> str:
    if form == "base64":
        return f'"{b64encode(vector).decode("ascii")}"'
    return f"[{','.join(f'{value:.{DIGITS}g}' for value in unpacked(vector).tolist())}]"
