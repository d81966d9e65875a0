"""What a pull will do, before it does it: for a person, in lines that fit the terminal, and for programs."""

from __future__ import annotations

from typing import Any

from localchat.commands.plan_page import plan_facts, wrapped
from localchat.pull.events import Chosen
from localchat.pull.rates import Outlook, likely, outlook
from localchat.text import duration, one_line, size

COMMIT_SIGNS = 7  # as git shows them


def choice_lines(chosen: Chosen) -> list[str]:
    """What will be done and why, and what it takes. Raises LocalchatError where the disk cannot be looked at."""
    notes = [wrapped(f"note: {one_line(note, 300)}", later="  ") for note in chosen.notes]
    at = f" at {chosen.commit[:COMMIT_SIGNS]}" if chosen.commit else ""
    if chosen.is_present:
        return [*notes, wrapped(f"{chosen.name} is up to date with {one_line(chosen.source)}{at}.")]
    reasons = [wrapped(one_line(reason, 2000), "  - ", "    ") for reason in chosen.plan.reasons]
    return [*notes, wrapped(f"{chosen.name}, from {one_line(chosen.source)}{at}:"), *reasons, *_needs(chosen)]


def choice_facts(chosen: Chosen) -> dict[str, Any]:
    """The same as programs read it: a plan, and what it takes."""
    ahead = outlook(chosen)
    return {
        **plan_facts(chosen.name, chosen.plan, chosen.download_bytes, chosen.disk_bytes),
        "source": chosen.source,
        "commit": chosen.commit,
        "notes": list(chosen.notes),
        "is_present": chosen.is_present,
        "disk_needed_bytes": ahead.needed_bytes,
        "disk_free_bytes": ahead.free_bytes,
        "has_room": ahead.has_room,
        "seconds": {"download": ahead.download_seconds, "convert": ahead.convert_seconds, "all": ahead.seconds},
    }


def _needs(chosen: Chosen) -> list[str]:
    ahead = outlook(chosen)
    parts = [f"{size(chosen.download_bytes)} to download"] if chosen.download_bytes else []
    room = f"where {size(ahead.free_bytes)} are free{'' if ahead.has_room else ', too little'}"
    parts.append(f"{size(chosen.disk_bytes)} on the disk, {room}" if chosen.disk_bytes else "linked, not copied")
    lines = [wrapped(f"{', '.join(parts)}.", later="  ")]
    if chosen.download_bytes or chosen.disk_bytes:
        lines.append(wrapped(_time(chosen, ahead), later="  "))
    speed = chosen.plan.tokens_per_second
    return [*lines, f"About {speed:.0f} tokens/s are predicted."] if speed and speed >= 1 else lines


def _time(chosen: Chosen, ahead: Outlook) -> str:
    """How long it will take, or that nothing tells."""
    known = likely(chosen)
    speed = f" at {size(known)}/s, as in earlier pulls" if known and chosen.download_bytes else ""
    if ahead.seconds is not None:
        is_slower = ahead.seconds == ahead.convert_seconds  # than the network
        why = ", by earlier conversions" if is_slower or not speed else speed
        return f"This takes about {duration(max(1.0, ahead.seconds))}{why}."
    if ahead.download_seconds:
        how_long = duration(max(1.0, ahead.download_seconds))
        return f"The download takes about {how_long}{speed}; how fast this machine converts is not known yet."
    return "How long it takes is not known before the first pull."
