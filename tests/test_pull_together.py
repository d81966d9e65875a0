"""Two programs with the same repository at once: none takes away what the other needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pull_hub import REPO, TrickyHub, publishing
from test_pull import events_of
from tiny import refused

from localchat.library import installed
from localchat.paths import downloads_folder
from localchat.plan.wish import Wish
from localchat.pull import ranges as fetching
from localchat.pull.events import Chosen, Progress, Pull, Ready
from localchat.pull.install import convert, pull
from localchat.pull.preview import preview
from localchat.pull.source import parse

WISH = Wish(quant="Q8_0", threads=2)


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, chatml: Path, monkeypatch: pytest.MonkeyPatch, naps: list[float]) -> Iterator[TrickyHub]:
    monkeypatch.setattr(fetching, "time", SimpleNamespace(sleep=naps.append))
    with publishing(tmp_path / "hub", chatml, monkeypatch) as hub:
        yield hub


def run_to(kind: type, events: Pull) -> None:
    next(event for event in events if isinstance(event, kind))


@pytest.mark.parametrize("name", ["tiny", "other"])
def test_one_that_comes_second_is_refused_and_does_no_harm(name: str) -> None:
    with closing(pull(parse(REPO), WISH)) as first:
        run_to(Progress, first)
        with refused("another program is pulling"), closing(pull(replace(parse(REPO), name=name), WISH)) as second:
            run_to(Ready, second)
        run_to(Ready, first)
    assert [model.name for model in installed()] == ["tiny"]
    assert list(downloads_folder().iterdir()) == []


def test_a_look_at_what_is_being_pulled_takes_nothing_away() -> None:
    with closing(pull(parse(REPO), WISH)) as first:
        run_to(Progress, first)
        for path in downloads_folder().glob("*/*.journal"):
            path.unlink()  # as it is before the first step is done
        with closing(pull(parse(REPO), WISH)) as dry_run:
            run_to(Chosen, dry_run)
        with preview(REPO, None, None, WISH):
            pass
        run_to(Ready, first)
    assert list(downloads_folder().iterdir()) == []


def test_a_conversion_leaves_a_pull_that_was_begun(tmp_path: Path) -> None:
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and event.done_bytes > event.total_bytes / 2:
                break
    for _ in convert(parse(REPO), tmp_path / "out.gguf", "Q4_0", 2):
        pass
    chosen = events_of(REPO, WISH)[0]
    assert isinstance(chosen, Chosen)
    assert chosen.download_bytes < (chosen.source_bytes or 0)


@pytest.mark.parametrize("quant", ["Q5_K_M", "Q8_0"])
def test_what_was_begun_counts_for_its_own_type_only(quant: str) -> None:
    with closing(pull(parse(REPO), WISH)) as events:
        for event in events:
            if isinstance(event, Progress) and event.done_bytes > event.total_bytes / 2:
                break
    with closing(pull(parse(REPO), replace(WISH, quant=quant))) as events:
        chosen = next(events)
    assert isinstance(chosen, Chosen)
    assert (chosen.download_bytes == chosen.source_bytes) is (quant == "Q5_K_M")


def test_what_a_killed_pull_left_goes_with_its_download(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def left(**options: object) -> object:
        kept.append(Path(str(options["dir"])) / "outline-left")
        kept[-1].mkdir()
        return nullcontext(str(kept[-1]))

    with monkeypatch.context() as patch:
        patch.setattr("localchat.pull.outline.TemporaryDirectory", left)
        with closing(pull(parse(REPO), WISH)) as events:
            run_to(Progress, events)
    assert kept[0].is_dir()
    events_of(REPO, WISH)
    assert list(downloads_folder().iterdir()) == []
