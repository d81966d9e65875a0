"""Screens of the app as text. `python tests/screens.py` writes those that `test_screens` compares with."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

FOLDER = Path(__file__).with_name("data") / "screens"
SMALL, MIDDLE = (80, 24), (120, 40)
REPLY = """# A plan

There are *two* ways, and **one** is `good`:

1. look
   - first at this
   - then at that
2. [x] decide

> Measure twice.

```python
def decide(things):
    return max(things, key=len)  # the longest
```

| thing | good |
|---|---:|
| first | 12 |
| second | 3 |
"""

Scene = Callable[[Pilot[None]], Awaitable[None]]


def lines(pilot: Pilot[None]) -> str:
    """All that stands on the screen."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips) + "\n"


async def until(pilot: Pilot[None], text: str) -> None:
    """Until this is on the screen, and the screen has come to rest."""
    from desk import wait_until

    await wait_until(lambda: text in lines(pilot))
    before = ""
    while before != (before := lines(pilot)):
        await pilot.pause(0.1)


async def asked(pilot: Pilot[None]) -> None:
    """A question and its answer."""
    await until(pilot, "ready")
    await pilot.press(*"Well", "enter")
    await until(pilot, "10.0 tok")


async def empty(pilot: Pilot[None]) -> None:
    await until(pilot, "ready")


async def versions(pilot: Pilot[None]) -> None:
    await asked(pilot)
    await pilot.press("ctrl+r")
    await until(pilot, "10.0 tok")
    await pilot.press("tab", "home", "down")
    await until(pilot, "2/2")
    await pilot.press("p", "home")
    await until(pilot, "pinned")


async def keys(pilot: Pilot[None]) -> None:
    await until(pilot, "ready")
    await pilot.press("f1")
    await until(pilot, "Begin a new")


async def presets(pilot: Pilot[None]) -> None:
    await until(pilot, "ready")
    await pilot.press("f5")
    await until(pilot, "greedy")


async def first_run(pilot: Pilot[None]) -> None:
    await until(pilot, "smollm2")


async def failed(pilot: Pilot[None]) -> None:
    await until(pilot, "not loaded")


SCENES: dict[str, tuple[Scene, tuple[int, int]]] = {
    "empty": (empty, SMALL),
    "reply": (asked, SMALL),
    "reply-wide": (asked, MIDDLE),
    "versions": (versions, SMALL),
    "keys": (keys, SMALL),
    "presets": (presets, MIDDLE),
    "first-run": (first_run, SMALL),
    "failed": (failed, SMALL),
}


async def drawn(name: str) -> str:
    """A scene, played over fakes."""
    from desk import FakeServices, install_fake, offer
    from fakes import ScriptedEngine

    from localchat.engine.events import Done, Piece, Usage
    from localchat.errors import LocalchatError

    scene, size = SCENES[name]
    usage = Usage(40, 0, 21, 0.5, 0.4, 2.0)
    engine: ScriptedEngine | LocalchatError = ScriptedEngine([Piece(REPLY, 21), Done("stop", usage)])
    if name == "failed":
        engine = LocalchatError("the model needs 9.1 GiB and 7.2 GiB are free", "choose a smaller one")
    offers = [offer("smollm2", is_local=True), offer("zephyr-7b-beta"), offer("openhermes-2.5-mistral-7b")]
    app = FakeServices([engine], offers=offers).app(None if name == "first-run" else install_fake())
    async with app.run_test(size=size) as pilot:
        await scene(pilot)
        return lines(pilot)


async def draw_all() -> None:
    """Write all of them anew."""
    FOLDER.mkdir(exist_ok=True)
    for name in SCENES:
        with tempfile.TemporaryDirectory() as home:
            os.environ["LOCALCHAT_HOME"] = home
            (FOLDER / f"{name}.txt").write_text(await drawn(name), "utf-8")


if __name__ == "__main__":
    asyncio.run(draw_all())
