"""Did the tokenizer come over? The model file's vocabulary, as llama.cpp reads it, against the checkpoint's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.convert.names import EMBEDDING, OUTPUT
from localchat.convert.proof.reference import Reference, ask_reference
from localchat.convert.proof.strings import STRINGS, around, digest, edition
from localchat.convert.tokenizer.added import SPACE
from localchat.convert.tokenizer.rows import CONTROL, UNUSED, USER_DEFINED
from localchat.convert.tokenizer.tekken import FILE as TEKKEN_FILE
from localchat.convert.tokenizer.tokenizer_files import TokenizerFiles, several
from localchat.convert.tokenizer.tokenizer_json import FILE as JSON_FILE
from localchat.convert.tokenizer.vocab import Vocab
from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile
from localchat.library import Check
from localchat.llama.vocabulary import Vocabulary, ask_vocabulary

PREFIX = "tokenizer.ggml."
AROUND_LIMIT = 8  # special tokens that are also tried inside texts, the added ones first
ADDED_LIMIT = 4096  # of each model: Mistral's newest has 1,000
Said = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Words:
    """The vocabulary in a header, as far as it can be typed."""

    texts: Sequence[str]
    types: Sequence[int]

    def of(self, *kinds: int) -> dict[str, int]:
        """Text and id of the tokens of these kinds."""
        return {text: id for id, (text, kind) in enumerate(zip(self.texts, self.types, strict=True)) if kind in kinds}


@dataclass(frozen=True, slots=True)
class Asked:
    """What llama.cpp was asked about a model file, and its answers."""

    special: Sequence[str]
    """Texts of single tokens; they come after the strings in the lists of `answers`."""
    texts: Sequence[str]
    answers: Vocabulary

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """What a receipt keeps of the answers about the strings that are the same for all models."""
        count = len(STRINGS)
        ids = digest(self.answers.plain[:count], self.answers.special[:count])
        return {"strings": edition(), "token_ids": ids}


def words_of(model: ModelFile) -> Words:
    """The vocabulary of a model file; one without types has ordinary tokens only."""
    texts = [str(text) for text in model.metadata.get(f"{PREFIX}tokens", [])]
    return Words(texts, model.metadata.get(f"{PREFIX}token_type", [1] * len(texts)))


def ask_about(model: ModelFile, added: Said) -> Asked:
    """Ask llama.cpp for the ids of the fixed strings, of special tokens, and of these in other texts.

    `added` are the tokens that the checkpoint's files add. Raises BadFile where llama.cpp cannot use the file.
    """
    known = words_of(model).of(CONTROL, USER_DEFINED)
    special = [text for text in dict.fromkeys([*added, *known]) if text][:ADDED_LIMIT]
    texts = [*STRINGS, *(text for token in special[:AROUND_LIMIT] for text in around(token))]
    return Asked(special, texts, ask_vocabulary(model.path, [*texts, *special], list(known.values())[:ADDED_LIMIT]))


def said_of_added(files: TokenizerFiles, vocab: Vocab) -> Said:
    """The tokens that the files of a tokenizer add to it, each with the ids that they give it.

    Read apart from the code that makes the vocabulary, which has seen that the files are sound. Ids beyond the rows of
    the model do not count; Mistral's own format knows no added tokens. Tokens that are not special have spaces there,
    as in the text that is typed, where SentencePiece writes another sign.
    """
    known = {text: id for id, text in enumerate(vocab.texts)}
    found: dict[str, set[int]] = {}
    for text, id, counts in _entries(files, vocab.source) if vocab.source != TEKKEN_FILE else ():
        typed = text.replace(SPACE, " ")
        text = typed if text not in known and typed in known else text
        if text and id < len(vocab.texts) and (counts or _has_room(text, id, known, vocab)):
            found.setdefault(text, set()).add(id)
    return {text: frozenset(ids) for text, ids in found.items()}


def _entries(files: TokenizerFiles, source: str) -> Iterator[tuple[str, int, bool]]:
    """Text and id, and whether this file has a say even where another one has the same row or text."""
    decoder: Mapping[str, Any] = files.settings.get("added_tokens_decoder") or {}
    lists = files.fast.get("added_tokens") or []
    yield from ((text, int(id), source != JSON_FILE) for text, id in files.added.items())
    yield from ((entry["content"], int(id), True) for id, entry in decoder.items())
    yield from ((entry["content"], int(entry["id"]), source == JSON_FILE) for entry in lists)


def _has_room(text: str, id: int, known: Mapping[str, int], vocab: Vocab) -> bool:
    """Is there a row for a token that only a file knows which fills what the others leave?"""
    return known.get(text, -1) == id or (text not in known and vocab.types[id] == UNUSED)


def check_vocabulary(model: ModelFile, asked: Asked) -> Check:
    """As many tokens as the embedding has rows, and one for each byte, which llama.cpp crashes without."""
    texts = words_of(model).texts
    rows = {tensor.name: tensor.dimensions[-1] for tensor in model.tensors}
    counts = {len(texts), asked.answers.count, *(rows[name] for name in (EMBEDDING.name, OUTPUT.name) if name in rows)}
    if len(counts) != 1:
        return Check(
            "vocabulary", "failed", f"there are {len(texts):,} tokens for {rows.get(EMBEDDING.name, 0):,} rows of "
            "the embedding",
        )  # fmt: skip
    return Check("vocabulary", "passed", f"{len(texts):,} tokens for as many rows of the embedding")


def check_bytes(model: ModelFile) -> Check:
    """Has a vocabulary that falls back to bytes a token for each? llama.cpp ends its process where one is missing."""
    if model.metadata.get(f"{PREFIX}model") != "llama":
        return Check("bytes", "passed", "the vocabulary is made of bytes")
    texts = set(words_of(model).texts)
    missing = [f"<0x{byte:02X}>" for byte in range(256) if f"<0x{byte:02X}>" not in texts and chr(byte) not in texts]
    if missing:
        what = f"the vocabulary has no token for the bytes {several(missing)}, over which llama.cpp would crash"
        return Check("bytes", "failed", what)
    return Check("bytes", "passed", "there is a token for each byte")


def check_added(model: ModelFile, asked: Asked, added: Said) -> Check:
    """Is every added or special token one id, the one its files say, and does the id give its text back?"""
    known = words_of(model).of(CONTROL, USER_DEFINED)
    ids = dict(zip(asked.special, asked.answers.special[len(asked.texts) :], strict=True))
    sound = {text for text, found in ids.items() if _is_one(found, _wanted(text, added, known))}
    spoken_for = {id for text in sound & added.keys() for id in added[text]}
    for text in asked.special:
        # where the files disagree about an id, one of its texts has it
        if text not in sound and not (added.get(text, frozenset()) & spoken_for):
            return Check("added tokens", "failed", f"the added token {text[:40]!r} is not one token of the model")
    for (text, _id), piece in zip(known.items(), asked.answers.pieces, strict=False):
        if text != piece:
            return Check("added tokens", "failed", f"the added token {text[:40]!r} reads back as {piece[:40]!r}")
    return Check("added tokens", "passed", f"{len(sound):,} special tokens are one id each and read back as they are")


def _wanted(text: str, added: Said, known: Mapping[str, int]) -> frozenset[int]:
    return added.get(text) or frozenset({known[text]})


def _is_one(ids: Sequence[int], wanted: Collection[int]) -> bool:
    return len(ids) == 1 and ids[0] in wanted


def check_tokens(model: ModelFile, asked: Asked, added: Said, tokenizer: Path, prefix: bool | None) -> Check:
    """Does the model's tokenizer give the ids of the checkpoint's own, for all strings?"""
    texts = words_of(model).texts
    plain = {texts[id]: id for id in asked.answers.user_defined}
    special = {**{text: min(ids) for text, ids in added.items()}, **{texts[id]: id for id in asked.answers.special_ids}}
    try:
        reference = ask_reference(tokenizer, asked.texts, plain, special, prefix)
    except LocalchatError as error:
        return Check("tokens", "noted", f"not compared, since {tokenizer.name} cannot be read by its library: {error}")
    differ = dict(_differences(asked, reference))
    if wrong := [text for text, is_excused in differ.items() if not is_excused]:
        what = f"the tokenizer did not come over: {min(wrong, key=len)[:60]!r} gives other tokens"
        return Check("tokens", "failed", what)
    same = f"{len(asked.texts) - len(differ)} strings give the same ids as {tokenizer.name}"
    if differ:
        return Check("tokens", "noted", f"{same}; {len(differ)} do not, as llama.cpp cannot treat them alike")
    return Check("tokens", "passed", same)


def _differences(asked: Asked, reference: Reference) -> Iterator[tuple[str, bool]]:
    """Each text whose ids differ, and whether llama.cpp cannot do otherwise."""
    answers = asked.answers
    for place, text in enumerate(asked.texts):
        ours = (answers.plain[place], answers.special[place])
        if ours != (reference.plain[place], reference.special[place]):
            yield text, reference.is_excused[place]
