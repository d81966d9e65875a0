"""The receipt of a model, as a page: where it comes from, what was made of it, and what was checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from textual.content import Content

from localchat.library import Check, Installed
from localchat.text import one_line, size
from localchat.tui.card import card, facts, moment, said

MARKS = {"passed": "✓", "noted": "·", "repaired": "~", "failed": "✗"}
STYLES = {"passed": "$text-success", "noted": "", "repaired": "$text-warning", "failed": "$text-error"}


def receipt_page(model: Installed) -> Content:
    """All of a receipt that a person may want to see."""
    receipt = model.receipt
    return card(
        f"Receipt of {model.name}",
        facts(
            ("Source", receipt.source),
            ("Commit", receipt.commit or ""),
            ("Installed", moment(receipt.installed_at)),
            ("Type", receipt.quant),
            ("Size", f"{size(receipt.file_bytes)}, {receipt.file_bytes:,} bytes"),
            ("File", str(model.path)),
            ("Made by", ", ".join(f"{name} {version}" for name, version in receipt.versions.items())),
            ("Stops at", ", ".join(receipt.stops)),
            ("System", receipt.system),
        ),
        _hashes("sha256 of the model file", {receipt.file: receipt.file_sha256}),
        _hashes("sha256 of what it was made from", receipt.inputs),
        said("Types of its tensors", [recipe_words(receipt.recipe)]),
        check_lines("Checked when it was installed", receipt.checks),
        said("Notes", receipt.notes),
    )


def recipe_words(recipe: Mapping[str, str]) -> str:
    """How many tensors have which type; empty where the file was not made here."""
    return ", ".join(f"{count} of {kind}" for kind, count in Counter(recipe.values()).most_common())


def check_lines(heading: str, checks: Sequence[Check]) -> Content:
    """Checks in words, a line each; nothing where there are none."""
    if not checks:
        return Content("")
    return Content("\n").join([Content.styled(heading, "$accent"), *map(_check, checks)])


def _check(check: Check) -> Content:
    word = "" if check.verdict == "passed" else f"{check.verdict}: "
    return Content.assemble(
        (f"{MARKS[check.verdict]} ", STYLES[check.verdict]),
        (f"{one_line(check.name, 40)}  ", "bold"),
        f"{word}{one_line(check.detail or 'checked', 500)}",
    )


def _hashes(heading: str, hashes: Mapping[str, str]) -> Content:
    if not any(hashes.values()):
        return Content("")
    lines = [
        Content.assemble(one_line(name, 200), (f"\n  {one_line(sha256, 80)}", "$foreground-muted"))
        for name, sha256 in hashes.items()
    ]
    return Content("\n").join([Content.styled(heading, "$accent"), *lines])
