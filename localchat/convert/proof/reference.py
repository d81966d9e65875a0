"""The tokenizer as its authors ran it: SentencePiece, Hugging Face's tokenizers, or the ranks of tekken.json.

`python -m localchat.convert.proof.reference` is a child process with little memory and time: both libraries read
files of strangers and neither was written for that. Special tokens are cut out of a text before they see it, as
llama.cpp does, so that added tokens need not be put into the foreign files.
"""

from __future__ import annotations

import base64
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localchat.child import Limits, answer, ask
from localchat.convert.tokenizer.sentencepiece import user_defined
from localchat.convert.tokenizer.tokenizer_json import TEKKEN
from localchat.prompt.tokens import Part, parts

# A tokenizer.json of 131,072 tokens takes 300 MB and a second; each thread of Rust would reserve address space.
LIMITS = Limits(memory_bytes=1 << 30, cpu_seconds=4)
TIMEOUT_SECONDS = 60.0  # for a machine that is busy with other things; the processor's time is what is limited
ENVIRONMENT = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "1"}
SPACE = "\u2581"

DUMMY_PREFIX = b"\x1a\x02\x18"  # ModelProto.normalizer_spec.add_dummy_prefix; its value follows

Encode = Callable[[str], list[int]]
Excuse = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Reference:
    """Lists in the order of the texts."""

    plain: Sequence[Sequence[int]]
    """Ids of each text; only tokens that count in plain text were cut out."""
    special: Sequence[Sequence[int]]
    """Ids of each text with all special tokens cut out."""
    is_excused: Sequence[bool]
    """Does this tokenizer do something with the text that llama.cpp cannot do?"""


def ask_reference(
    path: Path, texts: Sequence[str], plain: Mapping[str, int], special: Mapping[str, int], prefix: bool | None
) -> Reference:
    """Tokenize texts with the file at `path`; `plain` and `special` are the tokens to cut out of plain and other texts.

    `prefix` is what tokenizer_config.json says of the space before a text. Raises LocalchatError where the library
    cannot read the file, or takes too long for it.
    """
    question = {
        "path": str(path), "texts": list(texts), "plain": dict(plain), "special": dict(special), "prefix": prefix
    }  # fmt: skip
    return Reference(**ask("localchat.convert.proof.reference", question, TIMEOUT_SECONDS, ENVIRONMENT))


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    path = Path(question["path"])
    openers = {"tokenizer.json": _hugging_face, "tekken.json": _tekken}
    encode, is_excused = openers.get(path.name, _sentencepiece)(path, question["prefix"])
    cut = [[parts(text, question[name]) for text in question["texts"]] for name in ("plain", "special")]
    plain, special = ([_encoded(part, encode) for part in parted] for parted in cut)
    excused = [
        any(is_excused(part) for part in (*first, *second) if isinstance(part, str))
        for first, second in zip(*cut, strict=True)
    ]
    return asdict(Reference(plain, special, excused))


def _encoded(parted: Sequence[Part], encode: Encode) -> list[int]:
    return [id for part in parted for id in ([part] if isinstance(part, int) else encode(part))]


def _sentencepiece(path: Path, prefix: bool | None) -> tuple[Encode, Excuse]:
    from sentencepiece import SentencePieceProcessor

    # What comes later in a protobuf message counts, so that one field can be set by putting it behind the others.
    changed = b"" if prefix is None else DUMMY_PREFIX + bytes([prefix])
    processor = SentencePieceProcessor(model_proto=path.read_bytes() + changed)
    first = [text.replace(SPACE, " ") for text in user_defined(path)]

    def is_excused(text: str) -> bool:
        return _is_changed(text, processor.normalize) or any(piece in text for piece in first)

    return processor.encode, is_excused


def _hugging_face(path: Path, _prefix: bool | None) -> tuple[Encode, Excuse]:
    from tokenizers import Tokenizer

    raw = json.loads(path.read_bytes())
    raw |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    tokenizer = Tokenizer.from_str(json.dumps(raw))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    steps = json.dumps(raw.get("pre_tokenizer"), ensure_ascii=False)
    has_marks, has_space = json.dumps(TEKKEN, ensure_ascii=False) in steps, '"Metaspace"' in steps

    def is_excused(text: str) -> bool:
        normalizer = tokenizer.normalizer
        is_changed = normalizer is not None and _is_changed(text, normalizer.normalize_str)
        # Metaspace puts no space before a text that begins with one.
        return is_changed or (has_marks and _has_marks(text)) or (has_space and text.startswith((" ", SPACE)))

    return encode, is_excused


def _is_changed(text: str, normalize: Callable[[str], str]) -> bool:
    """Does it become another text, apart from the space that every text gets and the sign that stands for a space?"""
    prefix = normalize("a").removesuffix("a")
    return normalize(text).replace(SPACE, " ") != (prefix + text).replace(SPACE, " ")


def _has_marks(text: str) -> bool:
    """Is a combining mark in it? llama.cpp has the rule of tekken.json without those, and cuts words before them."""
    return any(unicodedata.category(character).startswith("M") for character in text)


def _tekken(path: Path, _prefix: bool | None) -> tuple[Encode, Excuse]:
    """The algorithm of tiktoken, for which tekken.json is made: join the neighbors that make the best-ranked token."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    raw = json.loads(path.read_bytes())
    config = raw["config"]
    first = config["default_num_special_tokens"]
    known = raw["vocab"][: config["default_vocab_size"] - first]
    ranks = {base64.b64decode(entry["token_bytes"]): rank for rank, entry in enumerate(known)}
    splitter = Split(Regex(config["pattern"]), "isolated")

    def encode(text: str) -> list[int]:
        words = (word.encode() for word, _span in splitter.pre_tokenize_str(text))
        return [first + ranks[piece] for word in words for piece in _joined(word, ranks)]

    return encode, _has_marks


def _joined(word: bytes, ranks: Mapping[bytes, int]) -> Iterator[bytes]:
    if word in ranks:
        return iter([word])
    pieces = [bytes([byte]) for byte in word]
    while True:
        pairs = [(ranks[left + right], at) for at, (left, right) in enumerate(itertools.pairwise(pieces))
                 if left + right in ranks]  # fmt: skip
        if not pairs:
            return iter(pieces)
        at = min(pairs)[1]
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


if __name__ == "__main__":
    answer(_reply, LIMITS)
