"""What goes along with a question, what is pasted, and which names complete a path: values."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localchat.errors import BadFile
from localchat.tui.attachment import LIMIT_BYTES, Attachment, attached, joined, parted, subject
from localchat.tui.pasting import as_path, is_large, typeable
from localchat.tui.path_completion import completions, longest
from localchat.tui.recall import Recall


@pytest.mark.parametrize(
    ("attachments", "typed"),
    [
        ((), "plain"),
        ((Attachment("print(1)", "a.py"),), "why?"),
        ((Attachment("a\n\nb"), Attachment("```\ncode\n```\n````", "x.md")), "two\n\nlines"),
        ((Attachment("", "empty.txt"),), ""),
        ((Attachment("File `b`:\n```\nx\n```"),), ""),
        ((), "File `a` is what I mean"),
        ((), "```py\nx\n```"),
    ],
)
def test_a_message_is_taken_apart_as_it_was_put_together(attachments: tuple[Attachment, ...], typed: str) -> None:
    assert parted(joined(attachments, typed)) == (attachments, typed)


def test_a_name_cannot_break_out_of_its_line() -> None:
    (attachment,), typed = parted(joined((Attachment("x", "a`\nFile.py"),), "why"))
    assert (attachment.text, typed) == ("x", "why")
    assert "\n" not in attachment.name


def test_what_a_message_is_about_is_what_was_typed() -> None:
    assert subject(joined((Attachment("x", "a.py"),), "why\nnot")) == "why not"
    assert subject(joined((Attachment("x", "a.py"),), "")).startswith("a.py, 1 B")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\n", "plain"),
        ("süß".encode("utf-8-sig"), "süß"),
        ("süß".encode("utf-16"), "süß"),
        (b"a\r\nb", "a\nb"),
        (b"\x1b[31mred\x07", "[31mred"),
        (b"", ""),
    ],
)
def test_text_files_are_read(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert attached(tmp_path / "a.txt") == Attachment(text, "a.txt")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\0b", b"\x80\x81", b"x" * (LIMIT_BYTES + 1)])
def test_what_is_not_text_or_too_much_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(BadFile, match=r"a\.bin"):
        attached(tmp_path / "a.bin")


def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(BadFile):
            attached(path)


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        ("/tmp/a.txt", "/tmp/a.txt"),
        ("  /tmp/a.txt\n", "/tmp/a.txt"),
        ("'/tmp/a b.txt'", "/tmp/a b.txt"),
        ('"/tmp/a b.txt"', "/tmp/a b.txt"),
        (r"/tmp/a\ b\(1\).txt", "/tmp/a b(1).txt"),
        ("file:///tmp/a%20b.txt", "/tmp/a b.txt"),
        ("C:\\Users\\a.txt", "C:\\Users\\a.txt"),
        ("two\nlines", None),
        ("", None),
        ("x" * 5000, None),
    ],
)
def test_a_paste_is_a_path_or_not(pasted: str, path: str | None) -> None:
    assert as_path(pasted) == (Path(path) if path is not None else None)


def test_what_cannot_be_seen_does_not_get_into_the_input() -> None:
    assert typeable("a\tb\r\nc\rd\x00\x1b\x7f\x9b\u202e\U000e0041") == "a\tb\nc\nd"
    needed = "\u0645\u06cc\u200c\u062e 👩\u200d💻 e\u0301"  # what is not seen in them joins or parts letters
    assert typeable(needed) == needed


def test_a_paste_is_large_by_its_characters_or_its_lines() -> None:
    assert [is_large(text) for text in ("x" * 2000, "x" * 2001, "\n" * 39, "\n" * 40)] == [False, True, False, True]


def test_names_complete_a_path_folders_first_and_hidden_ones_on_request(tmp_path: Path) -> None:
    for name in ("alpha.txt", "alps.txt", ".hidden", "bad\x1bname"):
        (tmp_path / name).touch()
    (tmp_path / "alley").mkdir()
    found = completions(f"{tmp_path}/al")
    assert found == [f"{tmp_path}/{name}" for name in ("alley/", "alpha.txt", "alps.txt")]
    assert longest(f"{tmp_path}/a", found) == f"{tmp_path}/al"
    assert completions(f"{tmp_path}/") == found
    assert completions(f"{tmp_path}/.") == [f"{tmp_path}/.hidden"]
    assert completions(f"{tmp_path}/nowhere/x") == []
    assert longest("abc", []) == "abc"


def test_a_walk_ends_at_both_ends_and_comes_back_to_what_was_typed() -> None:
    recall = Recall(["one", "two", "typed"], "typed")
    assert [recall.step(step) for step in (-1, -1, -1, 1, 1, 1)] == ["two", "one", None, "two", "typed", None]
