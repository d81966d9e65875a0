"""`tekken.json`: the byte-level vocabulary that Mistral publishes with its own models.

The format is that of the mistral-common package: tokens in the order of their ranks, base64 of their bytes, after a
number of special tokens. The file has no merges; they follow from the ranks, and gguf's MistralVocab says in which
order llama.cpp's converter writes them.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from localchat.convert.tokenizer.rows import CONTROL, NORMAL, ROWS_LIMIT, Piece, Source
from localchat.convert.tokenizer.tokenizer_json import TEKKEN
from localchat.errors import BadFile, LocalchatError

FILE = "tekken.json"
TOKEN_LIMIT_BYTES = 256  # published ones have up to 78
ALL_LIMIT_BYTES = 4 << 20  # of all tokens together; published ones have 1 MB
MERGES_LIMIT_CHARACTERS = 32 << 20
# The special tokens of files before version 11 of the format, which do not list them.
HISTORIC = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
)  # fmt: skip
ROLES = {"<unk>": "unk", "<s>": "bos", "</s>": "eos", "<pad>": "pad"}
HINT = "download the file again"


def read_tekken(raw: Mapping[str, Any]) -> Source:
    """The vocabulary in a parsed tekken.json. Raises LocalchatError for one that is damaged or splits differently."""
    config = raw.get("config")
    if not isinstance(config, dict) or config.get("pattern") != TEKKEN:
        raise LocalchatError(f"{FILE} splits text by a rule that is not known here", "choose another model")
    count = _whole(config, "default_num_special_tokens")
    special = _special(raw.get("special_tokens"), count)
    tokens = _tokens(raw.get("vocab"), _whole(config, "default_vocab_size") - count)
    texts = _texts(tokens)
    pieces = {number: Piece(text, 0.0, CONTROL) for number, text in enumerate(special)}
    pieces |= {number: Piece(text, 0.0, NORMAL) for number, text in enumerate(texts, count)}
    roles = {ROLES[text]: number for number, text in enumerate(special) if text in ROLES}
    return Source(
        file=FILE, pieces=pieces, model="gpt2", pre="tekken", merges=_merges(tokens, texts),
        special={"pad": roles["eos"], **roles} if "eos" in roles else roles,
    )  # fmt: skip


def _special(raw: Any, count: int) -> list[str]:
    listed = list(HISTORIC) if raw is None else []
    for entry in raw if isinstance(raw, list) else []:
        text = entry.get("token_str") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise BadFile(f"{FILE} has a special token without a text", HINT)
        listed.append(text)
    if len(listed) > count:
        raise BadFile(f"{FILE} has more special tokens than it says", HINT)
    return listed + [f"<SPECIAL_{number}>" for number in range(len(listed), count)]


def _tokens(raw: Any, count: int) -> list[bytes]:
    """The bytes of each token, by rank. A file may have more tokens than its default size, which are not used."""
    if not isinstance(raw, list) or not 256 <= count <= len(raw):
        raise BadFile(f"{FILE} has fewer tokens than it says", HINT)
    found = [_bytes(entry, rank) for rank, entry in enumerate(raw[:count])]
    if sum(map(len, found)) > ALL_LIMIT_BYTES:
        raise BadFile(f"{FILE} has longer tokens than any vocabulary", "do not trust this checkpoint")
    if found[:256] != [bytes([byte]) for byte in range(256)] or len(set(found)) != len(found):
        raise BadFile(f"{FILE} does not begin with all bytes, or has a token twice", HINT)
    return found


def _bytes(entry: Any, rank: int) -> bytes:
    text = entry.get("token_bytes") if isinstance(entry, dict) and entry.get("rank") == rank else None
    try:
        data = binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else b""
    except ValueError:
        data = b""
    if not 1 <= len(data) <= TOKEN_LIMIT_BYTES:
        raise BadFile(f"{FILE}: the token of rank {rank} is missing, out of order or damaged", HINT)
    return data


def _texts(tokens: list[bytes]) -> list[str]:
    """Bytes as byte-level vocabularies write them: printable ones as themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: byte for byte in printable} | {byte: 0x100 + place for place, byte in enumerate(others)}
    return [token.decode("latin-1").translate(letters) for token in tokens]


def _merges(tokens: list[bytes], texts: list[str]) -> list[str]:
    """All ways to make each token of two others, tokens by rank, the ways by the ranks of their halves."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    found: list[str] = []
    characters = 0
    for token in tokens[256:]:
        pairs = sorted(_halves(token, ranks))
        if not pairs:
            raise BadFile(f"{FILE} has a token that no two others make", HINT)
        characters += len(pairs) * (len(token) + 1)
        if characters > MERGES_LIMIT_CHARACTERS:
            raise BadFile(f"{FILE} has more merges than any vocabulary", "do not trust this checkpoint")
        found += [f"{texts[left]} {texts[right]}" for left, right in pairs]
    return found


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> Iterator[tuple[int, int]]:
    for cut in range(1, len(token)):
        left, right = ranks.get(token[:cut]), ranks.get(token[cut:])
        if left is not None and right is not None:
            yield left, right


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or not 0 <= value <= ROWS_LIMIT:
        raise BadFile(f"{FILE}: {key} is {str(value)[:40]}", HINT)
    return value
