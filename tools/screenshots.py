"""The pictures of the README: `screenshots.py FOLDER`. The real app with SmolLM2, in a home of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

SIZE = (110, 34)
PATIENCE_SECONDS = 120.0
QUESTION = "Write a Python function that tells whether a number is prime, and explain it."


async def until(fact: Callable[[], object]) -> None:
    """Wait for a fact. Exits where it never comes true."""
    limit = time.monotonic() + PATIENCE_SECONDS
    while not fact():
        if time.monotonic() > limit:
            sys.exit("the app did not come to what was to be shown")
        await asyncio.sleep(0.05)


def shows(pilot: Pilot[None], text: str) -> bool:
    """Is this text on the screen?"""
    return text.replace(" ", "&#160;") in pilot.app.export_screenshot()


async def shoot(folder: Path) -> None:
    """Walk through the app and keep pictures of it."""
    from localchat.launching import AS_SET
    from localchat.settings import Settings
    from localchat.tui.app import make_app
    from localchat.tui.services import real_services

    app = make_app(real_services(Settings(titles=False), AS_SET), None)

    async def keep(name: str) -> None:
        await pilot.pause(0.5)
        (folder / f"{name}.svg").write_text(app.export_screenshot(title="localchat"), "utf-8")

    async with app.run_test(size=SIZE) as pilot:
        await until(lambda: shows(pilot, "Ready in seconds"))
        await keep("first-run")
        await pilot.press("3")
        await until(lambda: shows(pilot, "ready"))
        await pilot.press(*("space" if sign == " " else sign for sign in QUESTION), "enter")
        await until(lambda: shows(pilot, "writing"))
        await until(lambda: shows(pilot, "ready"))
        await keep("chat")
        await pilot.press("ctrl+l")
        await pilot.press("2")
        await until(lambda: shows(pilot, "dolphin-2.6"))
        await keep("library")
        await pilot.press("escape", "f3")
        await until(lambda: shows(pilot, "Predicted"))
        await keep("hardware")


def main() -> None:
    """Make all of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LOCALCHAT_HOME"] = home
        asyncio.run(shoot(folder))


if __name__ == "__main__":
    main()
