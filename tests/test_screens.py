"""What the screens look like, sign for sign; `python tests/screens.py` writes them anew, and then they are read."""

from __future__ import annotations

import pytest
from screens import FOLDER, SCENES, drawn


@pytest.mark.parametrize("name", SCENES)
async def test_the_screen_is_as_it_was_approved(name: str) -> None:
    assert await drawn(name) == (FOLDER / f"{name}.txt").read_text("utf-8")


def test_no_picture_is_left_of_a_scene_that_is_gone() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(SCENES)
