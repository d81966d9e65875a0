"""A loaded model and its vocabulary. Used in the engine's child process only: llama.cpp may end the process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from llama_cpp import llama_cpp as cpp

from localchat.errors import LocalchatError, NoMemory
from localchat.llama.log import LOG
from localchat.llama.parameters import ModelParameters
from localchat.llama.placement import Placement
from localchat.llama.rpc import register

SPECIAL_ATTRIBUTES = cpp.LLAMA_TOKEN_ATTR_CONTROL | cpp.LLAMA_TOKEN_ATTR_UNKNOWN
POOLS_LAST = (cpp.LLAMA_POOLING_TYPE_NONE, cpp.LLAMA_POOLING_TYPE_LAST)
PIECE_BYTES = 4096
VALUE_BYTES = 1 << 20
MEMORY_HINT = "free some memory; llama.cpp's own words are in {log}"


def start(rpc: Sequence[str] = ()) -> None:
    """Start llama.cpp; its log goes to standard error, which the caller has sent to a file.

    Devices of other machines are added by their `rpc` addresses. Raises LocalchatError where one cannot be reached.
    """
    LOG.install()
    cpp.llama_backend_init()
    register(rpc)


class Model:
    """A model file in memory. Close it, or use it as a context manager."""

    def __init__(
        self,
        path: Path,
        placement: Placement,
        progress: Callable[[float], None] = lambda _fraction: None,
        *,
        part: Literal["all", "shape", "vocabulary"] = "all",
    ) -> None:
        """Load the model; `progress` is called with fractions.

        Of a model's `shape` a context can be made that says what memory it would take, but takes none; with the
        `vocabulary` one can tokenize and nothing else. Raises LocalchatError where llama.cpp refuses, NoMemory where
        memory does not suffice.
        """
        arrays = ModelParameters(placement)
        parameters = arrays.raw
        parameters.vocab_only = part == "vocabulary"
        if part == "shape":
            parameters.no_alloc, parameters.load_mode = True, cpp.LLAMA_LOAD_MODE_NONE

        def report(fraction: float, _data: object) -> bool:
            progress(fraction)
            return True

        parameters.progress_callback = cpp.llama_progress_callback(report)
        self.handle = cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            if short := LOG.short_of(placement.devices):
                raise NoMemory(f"there is not enough memory for {path.name}", MEMORY_HINT, short)
            raise LocalchatError(
                f"llama.cpp could not load {path.name}", "pull the model again; llama.cpp's own words are in {log}"
            )
        self.vocab = cpp.llama_model_get_vocab(self.handle)
        self._piece = ctypes.create_string_buffer(PIECE_BYTES)

    def close(self) -> None:
        """Give the memory back."""
        if self.handle:
            cpp.llama_model_free(self.handle)
            self.handle = None

    @cached_property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(cpp.llama_vocab_n_tokens(self.vocab))

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return int(cpp.llama_model_n_layer(self.handle))

    @property
    def adds_bos(self) -> bool:
        """Does a text begin with the beginning-of-sequence token?"""
        return bool(cpp.llama_vocab_get_add_bos(self.vocab))

    @property
    def adds_eos(self) -> bool:
        """Does a text end with the end-of-sequence token, where it is made a vector of?"""
        return bool(cpp.llama_vocab_get_add_eos(self.vocab))

    @cached_property
    def pools_last(self) -> bool:
        """Is the vector of a text that of its last token, as far as the file says?"""
        name = self.metadata("general.architecture")
        pooling, causal = self.metadata(f"{name}.pooling_type"), self.metadata(f"{name}.attention.causal")
        return pooling in (None, *map(str, POOLS_LAST)) and causal != "false"

    @property
    def is_sentencepiece(self) -> bool:
        """Is a space put before a text, which the first piece of a reply then carries?"""
        return bool(cpp.llama_vocab_type(self.vocab) == cpp.LLAMA_VOCAB_TYPE_SPM)

    def special_tokens(self) -> dict[str, int]:
        """Text and id of every token that is only ever meant by a template, never by a user."""
        return {
            self._text(token): token
            for token in range(self.vocabulary)
            if cpp.llama_vocab_get_attr(self.vocab, token) & SPECIAL_ATTRIBUTES
        }

    def user_defined(self) -> list[int]:
        """Ids of the tokens that are found in plain text before all others."""
        wanted = cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        relevant = wanted | SPECIAL_ATTRIBUTES  # where llama.cpp finds it special as well, plain text does not have it
        attributes = ((token, cpp.llama_vocab_get_attr(self.vocab, token)) for token in range(self.vocabulary))
        return [token for token, attribute in attributes if attribute & relevant == wanted]

    def token_text(self, role: str) -> str:
        """The text of the `bos` or `eos` token; empty where the vocabulary has none."""
        token = getattr(cpp, f"llama_vocab_{role}")(self.vocab)
        return self._text(token) if token >= 0 else ""

    def bos(self) -> int | None:
        """The beginning-of-sequence token, if there is one."""
        token = cpp.llama_vocab_bos(self.vocab)
        return int(token) if token >= 0 else None

    def eos(self) -> int | None:
        """The end-of-sequence token, if there is one."""
        token = cpp.llama_vocab_eos(self.vocab)
        return int(token) if token >= 0 else None

    def metadata(self, key: str) -> str | None:
        """A metadata value as text."""
        buffer = ctypes.create_string_buffer(VALUE_BYTES)
        length = cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, VALUE_BYTES)
        return buffer.value.decode("utf-8", "replace") if length >= 0 else None

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Tokens of a text, nothing added. Text that looks like a special token is one only where `special` is set."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 2
        # A space can become three tokens where the vocabulary does not know it: then the answer is how many it takes.
        for _ in range(2):
            tokens = (cpp.llama_token * room)()
            count = cpp.llama_tokenize(self.vocab, data, len(data), tokens, room, False, special)
            if count >= 0:
                return list(tokens[:count])
            room = -count
        raise LocalchatError("llama.cpp could not tokenize the text", "shorten it")

    def piece(self, token: int, strip: int = 0, *, special: bool = False) -> bytes:
        """The bytes of a token, without up to `strip` leading spaces; of a special one only where `special` is set."""
        count = cpp.llama_token_to_piece(self.vocab, token, self._piece, PIECE_BYTES, strip, special)
        return self._piece.raw[: max(0, count)]

    def is_end(self, token: int) -> bool:
        """Does this token end a reply?"""
        return bool(cpp.llama_vocab_is_eog(self.vocab, token))

    def _text(self, token: int) -> str:
        return (cpp.llama_vocab_get_text(self.vocab, token) or b"").decode("utf-8", "replace")
