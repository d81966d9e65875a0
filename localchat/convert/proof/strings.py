"""Texts that tokenizers trip over, always the same ones, so that their ids can be compared years later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

STRINGS: tuple[str, ...] = (
    # spaces and ends of lines
    "", " ", "  ", "     ", "\n", "\n\n\n", "\t", "\r\n", " \n \t ", "word ", " word", "   word", "two  spaces",
    "line one\nline two\n", "\ttab\tseparated", "trailing tabs\t\t", "no\u00a0break", "wide\u3000space",
    "zero\u200bwidth", "\ufeffmark",
    # words and numbers
    "Hello", "Good morning, how are you today?", "don't can't I'll we've THEY'RE", "x", "camelCaseAnd_snake_case-kebab",
    "1", "12", "123", "1234567890", "3.14159", "-1,000,000.50", "0x1F", "2026-11-22T16:05:00Z", "50% of $20",
    "antidisestablishmentarianism", "lo" * 100, "=" * 70, "...!?!?", "(((([[[{{{", "user@example.org",
    "https://example.org/a/b?c=d&e=%20#f",
    # code
    "def add(a, b):\n    return a + b\n", "if (x != null) {\n\tx++;\n}\n", '{"key": [1, 2.5e-3, null]}',
    "SELECT * FROM t WHERE a <> 'b';", "<p class=\"x\">text</p>", "\\n is \\\\ not a newline",
    # scripts, marks and what has no piece of its own
    "na\u00efve caf\u00e9", "cafe\u0301", "Stra\u00dfe \u00dcbergr\u00f6\u00dfe",
    "\u041f\u0440\u0438\u0432\u0435\u0442",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f", "\uc548\ub155\ud558\uc138\uc694",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "z\u0351\u036b\u0343algo",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7 flag", "\U0001f44d\U0001f3fd",
    "\ud7ff \ue000 \ufffd", "\U0001d54f \U00010330", "\x01\x7f", "\ufb01 \u2460 \u00bd \uff21",
    # what looks like part of a vocabulary
    "\u2581", "a\u2581b", "<0x0A>", "<unk>", "<s>", "</s>", "in</s>side", "<s> <s>", "<pad>", "[INST] Hi [/INST]",
    "<|im_start|>user\nHi<|im_end|>\n", "<|im_end|> tail", "<|im_end", "<|user|>\nHi</s>\n<|assistant|>\n",
    "<|end_of_turn|>", "[PAD32000]", "### Instruction:\nSay hi\n\n### Response:\n",
)  # fmt: skip


def around(token: str) -> list[str]:
    """Texts with a special token where its surroundings matter: alone, inside a word, next to spaces, doubled."""
    return [token, f"in{token}side", f"left {token} right", f"{token}{token}\n", f" {token}"]


def digest(*ids: Sequence[Sequence[int]]) -> str:
    """A sha256 over lists of ids, to be kept in a receipt."""
    return hashlib.sha256(json.dumps([[list(row) for row in part] for part in ids]).encode()).hexdigest()


def edition() -> str:
    """A sha256 over the texts: digests are comparable only where it is the same."""
    return hashlib.sha256(json.dumps(STRINGS).encode()).hexdigest()
