"""The table of plans that a reviewer has read is what is chosen now."""

from __future__ import annotations

import re

import pytest
from plan_table import FOLDER, HEADINGS, MODELS, NUMBERS, read, rows

NUMBER = re.compile(r"[0-9]+\.[0-9]")


def test_the_table_of_plans_is_what_is_chosen_now() -> None:
    """Bytes may differ a little from one llama.cpp to the next; what is chosen may not."""
    written, now = read(), rows()
    assert len(written) == len(MODELS) * len(list(FOLDER.glob("*.json")))
    assert [row[:2] for row in written] == [row[:2] for row in now]
    for old, new in zip(written, now, strict=True):
        for heading, was, found in zip(HEADINGS, old, new, strict=True):
            hint = f"{old[0]}, {old[1]}: {heading}; if the new one is better: python tests/plan_table.py"
            if heading in NUMBERS:
                assert NUMBER.sub("", was) == NUMBER.sub("", found), hint
                numbers = [[float(number) for number in NUMBER.findall(cell)] for cell in (was, found)]
                assert numbers[1] == pytest.approx(numbers[0], abs=0.11, rel=0.02), hint
            else:
                assert was == found, hint
