"""What to look for, and where it stands in a text: one harmless line with the found words marked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from localchat.text import clean

WORDS_LIMIT, TEXT_LIMIT = 16, 200
MARKS = "\u0300-\u036f"  # accents that stand behind their letter
BEFORE, LINE_CHARACTERS = 30, 160
MATCHES_LIMIT = 200

Pieces = tuple[tuple[str, bool], ...]
Pattern = re.Pattern[str]


class _Folds(dict[int, str]):
    """Each character as one that is in lower case and has no accent."""

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFD", chr(code))[0].lower()[0]
        self[code] = plain
        return plain


FOLDS = _Folds()


def folded(text: str) -> str:
    """The text in lower case and without accents, character by character: as long as it was."""
    return text.lower() if text.isascii() else text.translate(FOLDS)


def words_of(text: str) -> list[str]:
    """The words to look for, as the word tables have them."""
    plain = re.sub(f"[{MARKS}]", "", folded(unicodedata.normalize("NFC", text[:TEXT_LIMIT])))
    return list(dict.fromkeys(re.findall(r"[^\W_]+", plain)))[:WORDS_LIMIT]


def beginnings(words: Sequence[str]) -> Pattern:
    """Words of a folded text that begin with one of these."""
    spelled = (f"[{MARKS}]*".join(map(re.escape, word)) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(spelled)})[{MARKS}]*")


def literally(text: str) -> Pattern:
    """This text wherever it stands in a folded one."""
    return re.compile(re.escape(folded(text)))


def marked(text: str, pattern: Pattern) -> Pieces:
    """One harmless line of a text around what was found in it; True marks that."""
    spans = [match.span() for match, _ in zip(pattern.finditer(folded(text)), range(MATCHES_LIMIT), strict=False)]
    start = _best_start(text, spans)
    end = min(len(text), start + LINE_CHARACTERS)
    pieces = [("…", False)] if start else []
    for left, right in spans:
        if start <= left < end:
            pieces += [(text[start:left], False), (text[left : min(right, end)], True)]
            start = min(right, end)
    pieces += [(text[start:end], False), ("…" if end < len(text) else "", False)]
    return tuple((line, is_found) for piece, is_found in pieces if (line := _flat(piece)))


def _best_start(text: str, spans: Sequence[tuple[int, int]]) -> int:
    """Where a line begins that shows as many of the different words as one can."""
    if not spans:
        return 0

    def shown(index: int) -> int:
        first = spans[index][0]
        near = (span for span in spans[index : index + WORDS_LIMIT] if span[1] < first + LINE_CHARACTERS - BEFORE)
        return len({folded(text[left:right]) for left, right in near})

    first = spans[max(range(len(spans)), key=shown)][0]
    if first <= BEFORE:
        return 0
    space = text.find(" ", first - BEFORE, first - BEFORE // 2)
    return space + 1 if space >= 0 else first - BEFORE


def _flat(piece: str) -> str:
    """Clean text on one line that keeps one space at either end."""
    return re.sub(r"\s+", " ", clean(piece))
