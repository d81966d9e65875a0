"""A model file without weights: all that llama.cpp needs to say what the model would take, before any is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gguf.constants import GGUFValueType as Kind

from localchat.convert.config import Config
from localchat.convert.header import Metadata, TensorEntry, aligned, encode
from localchat.convert.metadata import shape_metadata, type_metadata
from localchat.convert.names import targets
from localchat.convert.recipe import facts_of, tensor_type
from localchat.errors import LocalchatError
from localchat.files import make_hollow
from localchat.llama.quantize import row_bytes


@contextmanager
def sketched(config: Config, quant: str) -> Iterator[Path]:
    """The path of a file with the header of this model in this type, and a hole where its weights would be.

    It has no tokenizer; it goes when the context ends. Raises LocalchatError where the type is not possible.
    """
    with hollow(*_header(config, quant)) as path:
        yield path


@contextmanager
def hollow(header: bytes, weights_bytes: int) -> Iterator[Path]:
    """The path of a model file with this header and a hole for its weights; it goes when the context ends.

    Raises LocalchatError where the folder for temporary files cannot take it.
    """
    with ExitStack() as files:
        try:
            path = Path(files.enter_context(TemporaryDirectory(prefix="localchat-"))) / "sketch.gguf"
            make_hollow(path, len(header) + weights_bytes)
            with path.open("r+b") as file:
                file.write(header)
        except OSError as error:
            raise LocalchatError(
                f"a sketch of the model could not be written: {error.strerror or error}",
                "free some space for temporary files, or set TMPDIR to a folder on another disk",
            ) from error
        yield path


def _header(config: Config, quant: str) -> tuple[bytes, int]:
    """The header, and the bytes that the tensors behind it take."""
    metadata: Metadata = {
        "general.architecture": (Kind.STRING, config.architecture),
        **type_metadata(quant),
        **shape_metadata(config),
        "tokenizer.ggml.model": (Kind.STRING, "none"),
    }
    facts, entries, offset = facts_of(config), [], 0
    for target in targets(config):
        kind = tensor_type(quant, target.name, target.shape, facts)
        entries.append(TensorEntry(target.name, kind, target.shape, offset))
        offset = aligned(offset + row_bytes(kind, target.columns) * target.rows)
    return encode(metadata, entries), offset
