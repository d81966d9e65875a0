"""The same file under another name, in the first way that works, and what happens to the other app's file."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from test_library import receipt
from tiny import refused

from localchat import library
from localchat.errors import BadFile, LocalchatError
from localchat.pull import link as links
from localchat.pull.adopt import broken
from localchat.pull.link import LADDER, Step, hard_link, kind_of_link, link, reference


def clone(path: Path, linked: Path) -> None:
    """A reflink as anybody but the file system sees it."""
    shutil.copyfile(path, linked)


def cannot(_path: Path, _linked: Path) -> None:
    raise OSError(errno.EXDEV, "no")


STEPS: list[Step] = [("reflink", clone), ("hard link", hard_link), ("reference", reference)]


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Another app's file."""
    path = tmp_path / "app" / "model.gguf"
    path.parent.mkdir()
    path.write_bytes(b"12345")
    return path


@pytest.mark.parametrize("works", range(3))
def test_the_first_way_that_works_is_taken(origin: Path, tmp_path: Path, works: int) -> None:
    ladder = [(kind, make if step >= works else cannot) for step, (kind, make) in enumerate(STEPS)]
    linked = tmp_path / "linked"
    assert link(origin, linked, ladder) == STEPS[works][0] == kind_of_link(origin, linked)
    assert linked.read_bytes() == b"12345"


def test_here_a_file_is_linked_without_copying_it(origin: Path, tmp_path: Path) -> None:
    kind = link(origin, tmp_path / "linked")
    assert kind in ("reflink", "hard link")
    assert (tmp_path / "linked").read_bytes() == b"12345"
    assert [name for name, _ in LADDER] == ["reflink", "hard link", "reference"]


def test_a_link_is_made_to_the_file_and_not_to_a_link(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(origin)
    link(tmp_path / "alias", tmp_path / "hard", STEPS[1:])
    link(tmp_path / "alias", tmp_path / "soft", STEPS[2:])
    assert (tmp_path / "hard").samefile(origin)
    assert (tmp_path / "soft").readlink() == origin


def test_what_was_there_before_gives_way(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to("nothing")
    assert link(origin, tmp_path / "linked", STEPS[1:]) == "hard link"
    assert link(origin, tmp_path / "linked", STEPS[1:]) == "hard link"
    assert origin.read_bytes() == b"12345"


def test_where_nothing_works_a_sentence_says_so(origin: Path, tmp_path: Path) -> None:
    with refused("cannot be linked: no"):
        link(origin, tmp_path / "linked", [("reference", cannot)])
    assert not (tmp_path / "linked").exists()


def test_a_file_that_is_gone_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is gone"):
        link(tmp_path / "nothing", tmp_path / "linked")


@pytest.mark.parametrize("is_able", [True, False])
def test_a_reflink_shares_the_blocks_or_leaves_nothing(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_able: bool
) -> None:
    asked = []

    def ioctl(descriptor: int, request: int, source: int) -> int:
        asked.append(request)
        if not is_able:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return os.write(descriptor, os.pread(source, 100, 0))

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    monkeypatch.setattr(sys, "platform", "linux")
    assert link(origin, tmp_path / "linked") == ("reflink" if is_able else "hard link")
    assert asked == [links.FICLONE]
    assert (tmp_path / "linked").read_bytes() == b"12345"
    assert (tmp_path / "linked").samefile(origin) is not is_able


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0])
def test_removing_a_model_leaves_the_file_of_the_other_app(origin: Path, step: Step) -> None:
    folder = library.folder_for("one")
    link(origin, folder / "one.Q8_0.gguf", [step])
    library.record(receipt("one", source=str(origin)))
    library.remove("one")
    assert not folder.exists()
    assert origin.read_bytes() == b"12345"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0])
def test_another_type_in_its_place_leaves_the_file_of_the_other_app(origin: Path, step: Step) -> None:
    folder = library.folder_for("one")
    link(origin, folder / "one.F16.gguf", [step])
    (folder / "one.Q8_0.gguf").write_bytes(b"54321")
    library.record(receipt("one"))
    assert sorted(path.name for path in folder.iterdir()) == ["one.Q8_0.gguf", "receipt.json"]
    assert origin.read_bytes() == b"12345"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[0])
def test_only_a_reference_needs_the_other_app(origin: Path, step: Step) -> None:
    link(origin, library.folder_for("one") / "one.Q8_0.gguf", [step])
    library.record(receipt("one", source=str(origin)))
    origin.unlink()
    if step[0] != "reference":
        assert library.find("one").path.read_bytes() == b"12345"
        assert broken() == []
        return
    with pytest.raises(BadFile):
        library.find("one")
    assert broken() == [("one", str(origin))]
    library.remove("one")
    assert broken() == []


@pytest.mark.parametrize("name", ["..", "../app", "/", "", ".", "app/model.gguf", "one/..", "..\\app", "one\0"])
def test_no_name_removes_anything_outside_the_library(origin: Path, name: str) -> None:
    link(origin, library.folder_for("one") / "one.Q8_0.gguf", STEPS[1:])
    library.record(receipt("one", source=str(origin)))
    with pytest.raises(LocalchatError):
        library.remove(name)
    assert origin.read_bytes() == b"12345"
    assert library.find("one").path.exists()


def test_a_folder_of_the_library_that_is_a_link_is_not_followed(origin: Path, home: Path) -> None:
    (home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models" / "app").symlink_to(origin.parent)
    (origin.parent / "receipt.json").write_text("{}")
    with pytest.raises(LocalchatError, match="could not be removed"):
        library.remove("app")
    assert origin.read_bytes() == b"12345"
