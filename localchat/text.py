"""Text that reaches a terminal, and sizes as people read them.

Nothing that comes from outside (a model's output, a file's metadata, a name, an error of the system) may reach a
terminal without `clean`: Textual and Rich pass escape sequences and C1 controls through.
"""

from __future__ import annotations

import re
import sys

ESCAPE = "\x1b"

# Bidirectional overrides and isolates reorder what is on the screen; zero-width and tag characters hide text in it.
# ZERO WIDTH JOINER (200D) stays: emoji families and several scripts need it.
INVISIBLE = [
    *range(0x200B, 0x200D), *range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
    0x061C, 0x180E, 0xFEFF, 0x2028, 0x2029, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080), *range(0xE0100, 0xE01F0),
]  # fmt: skip
CONTROLS = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)]
NONCHARACTERS = [*range(0xFDD0, 0xFDF0), *(plane << 16 | low for plane in range(17) for low in (0xFFFE, 0xFFFF))]
SURROGATES = range(0xD800, 0xE000)

REMOVED: dict[int, str | None] = {
    **dict.fromkeys([*CONTROLS, *INVISIBLE, *NONCHARACTERS]),
    **dict.fromkeys(SURROGATES, "\ufffd"),
    ord(ESCAPE): "␛",
}
HARMLESS = re.compile(r"[\t\n\x20-\x7e]*")

SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE | re.ASCII)
UNITS = "KMGT"


def clean(text: str) -> str:
    """The text without anything a terminal would act on. Works piece by piece: no state crosses a call.

    Newlines and tabs stay. ESC becomes a visible sign, so that an attempted sequence is seen and not executed.
    """
    return text if HARMLESS.fullmatch(text) else text.translate(REMOVED)


def one_line(text: str, limit: int = 200) -> str:
    """Clean text on one line, cut after `limit` characters with a sign that it was cut."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def capitalized(text: str) -> str:
    """The same as a sentence begins; an address stays as it is."""
    return text if text.startswith(("http://", "https://")) else f"{text[:1].upper()}{text[1:]}"


def size(count: int | float) -> str:
    """Bytes in binary units: `4.1 GiB`, `96 MiB`, `812 B`."""
    amount, unit = float(count), "B"
    for prefix in UNITS:
        if abs(amount) < 1023.5:  # what would be rounded to 1024 is one of the next unit
            break
        amount, unit = amount / 1024, f"{prefix}iB"
    digits = 1 if unit != "B" and abs(amount) < 100 else 0
    return f"{amount:.{digits}f} {unit}"


def parse_size(text: str) -> int:
    """Bytes of `4.2GiB`, `4.2G` (binary), `4200MB` (decimal) or a plain number. Raises ValueError."""
    match = SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 4.2GiB")
    number, prefix, binary = match.groups()
    decimal = text.strip().upper().endswith("B") and not binary
    base = 1000 if decimal else 1024
    return int(float(number) * base ** (UNITS.index(prefix.upper()) + 1 if prefix else 0))


def duration(seconds: float) -> str:
    """A time as people say it: `8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def is_interactive() -> bool:
    """Does a person read standard error on a terminal?"""
    return sys.stderr.isatty()


def counted(count: int, thing: str) -> str:
    """So many of them, in words."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
