"""Text that goes along with a question: a file, or a large paste. It stands before the question, fenced."""

from __future__ import annotations

import codecs
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localchat.errors import BadFile
from localchat.files import read_bytes
from localchat.text import one_line, size
from localchat.tui.pasting import typeable

LIMIT_BYTES = 1 << 20
CHARACTERS_PER_TOKEN = 4  # of English and of code, roughly
NAME_CHARACTERS = 60
FENCES = re.compile("`{3,}")
BLOCK = re.compile(r"(?:File `([^`\n]+)`|(Pasted text)):\n(`{3,})[^`\n]*\n(.*?)\n\3(?:\n\n|\Z)", re.DOTALL)
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text with the name of its file; pasted text has none."""

    text: str
    name: str = ""

    @property
    def label(self) -> str:
        """How it is called in a line: its name, its size, and roughly how much of the context it takes."""
        name = one_line(self.name, NAME_CHARACTERS) or _lines(self.text)
        return f"{name}, {size(len(self.text.encode('utf-8', 'replace')))}, about {_tokens(self.text):,} tokens"

    @property
    def block(self) -> str:
        """How the model and the history see it; the fence is longer than any in the text."""
        fence = "`" * (1 + max((len(found) for found in FENCES.findall(self.text)), default=2))
        title = f"File `{_safe_name(self.name)}`" if self.name else "Pasted text"
        return f"{title}:\n{fence}{_language(self.name)}\n{self.text}\n{fence}"


def attached(path: Path) -> Attachment:
    """The text of a file. Raises BadFile where it is too large, or is not text."""
    name = one_line(path.name, NAME_CHARACTERS) or "this"
    try:
        facts = path.expanduser().stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadFile(f"{name} cannot be read: {_reason(error)}", "check the path") from error
    if not stat.S_ISREG(facts.st_mode):
        raise BadFile(f"{name} is no ordinary file", "attach a text file")
    if facts.st_size > LIMIT_BYTES:
        found, limit = size(facts.st_size), size(LIMIT_BYTES)
        raise BadFile(f"{name} is {found}, and more than {limit} cannot be attached", "attach the part that matters")
    return Attachment(_decoded(read_bytes(path.expanduser(), LIMIT_BYTES), name), path.name)


def joined(attachments: Sequence[Attachment], typed: str) -> str:
    """The message as it is sent and kept."""
    return "\n\n".join([*(attachment.block for attachment in attachments), *([typed] if typed.strip() else [])])


def parted(message: str) -> tuple[tuple[Attachment, ...], str]:
    """What `joined` made one, taken apart again; a message without attachments is all typed."""
    found, position = [], 0
    while match := BLOCK.match(message, position):
        name, _, _, text = match.groups()
        found.append(Attachment(text, name or ""))
        position = match.end()
    return tuple(found), message[position:]


def subject(message: str) -> str:
    """What a message is about, in a line: what was typed, or else what is attached."""
    attachments, typed = parted(message)
    return one_line(typed) or (attachments[0].label if attachments else "")


def _decoded(data: bytes, name: str) -> str:
    encoding = "utf-16" if data.startswith(UTF_16) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadFile(f"{name} is not text", "attach a text file in UTF-8") from error
    if "\0" in text:
        raise BadFile(f"{name} is not text", "attach a text file in UTF-8")
    return typeable(text).removesuffix("\n")


def _language(name: str) -> str:
    """The word behind the fence by which the code is highlighted."""
    suffix = Path(name).suffix[1:].lower()
    return suffix if suffix.isascii() and suffix.isalnum() else ""


def _safe_name(name: str) -> str:
    return one_line(name, NAME_CHARACTERS).replace("`", "'") or "file"


def _lines(text: str) -> str:
    count = text.count("\n") + 1
    return f"{count:,} pasted lines" if count > 1 else "pasted text"


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
