"""Conversations by the day they were last talked in, in the words of here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from localchat.history.saved import Heading

WEEK_DAYS = 7


def by_day(headings: Iterable[Heading], today: date) -> list[tuple[str, list[Heading]]]:
    """Groups with their names in the order of the list: the pinned ones, then a group for each day."""
    groups: dict[str, list[Heading]] = {}
    for heading in headings:
        name = "Pinned" if heading.pinned else day_name(local(heading.updated_at), today)
        groups.setdefault(name, []).append(heading)
    return list(groups.items())


def day_name(time: datetime | None, today: date) -> str:
    """`Today`, `Yesterday`, a weekday of the last week, or the date."""
    if time is None:
        return "Some day"
    day = time.date()
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if day > today - timedelta(days=WEEK_DAYS):
        return f"{day:%A}"
    return f"{day:%A}, {day.day} {day:%B}" if day.year == today.year else f"{day.day} {day:%B} {day.year}"


def local(written: str) -> datetime | None:
    """A time as it is kept, here; None where it cannot be read."""
    try:
        return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def when(written: str) -> str:
    """The same in words: `2026-05-06 14:03`."""
    time = local(written)
    return f"{time:%Y-%m-%d %H:%M}" if time else ""
