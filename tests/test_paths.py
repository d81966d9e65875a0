"""Names from outside become paths inside one folder or are refused; folders are their owner's alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.paths import (
    config_file,
    downloads_folder,
    history_file,
    home,
    is_safe_name,
    logs_folder,
    model_name,
    models_folder,
    private_folder,
    safe_join,
)

# Names that no system may be given as they are, by what is wrong with them.
BAD_NAMES = {
    "empty": "",
    "dot": ".",
    "parent": "..",
    "absolute": "/etc/passwd",
    "home of another": "//host/share",
    "climbing": "../secret",
    "climbing later": "a/../../secret",
    "climbing at the end": "a/..",
    "windows climbing": "..\\secret",
    "mixed climbing": "a/..\\..\\secret",
    "windows root": "\\windows\\system32",
    "drive": "C:\\windows",
    "drive without root": "C:secret",
    "drive with slash": "c:/secret",
    "UNC": "\\\\host\\share\\file",
    "device path": "\\\\?\\C:\\file",
    "stream": "file.txt:hidden",
    "stream type": "file::$DATA",
    "reserved": "con",
    "reserved with suffix": "AUX.gguf",
    "reserved in a folder": "models/nul",
    "reserved folder": "prn/file",
    "reserved port": "com1.safetensors",
    "reserved printer": "LPT9",
    "reserved port in superscript": "com\u00b9",
    "reserved before spaces": "nul .txt",
    "reserved console": "CONIN$",
    "NUL character": "a\0b",
    "newline": "a\nb",
    "escape": "a\x1b[31mb",
    "DEL": "a\x7fb",
    "C1 control": "a\x9b31mb",
    "too long": "a" * 201,
    "too long in bytes": "\u00e9" * 101,
    "trailing dot": "name.",
    "trailing space": "name ",
    "trailing dot of a folder": "folder./file",
    "wildcard": "*.gguf",
    "question": "a?b",
    "quote": 'a"b',
    "pipe": "a|b",
    "angle": "a<b",
    "half a surrogate pair": "\ud800",
}
PARTS = ["a", "b.gguf", "\u00e9", "out", "..", ".", "", "C:", "\\", "con", "a ", "~", "\ud800", "x" * 90]
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.text(st.sampled_from("a./\\:~ \x00\ud800"), max_size=10),
    st.lists(st.sampled_from(PARTS), max_size=5).map("/".join),
)


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_name_that_leaves_or_tricks_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with refused("file name"):
        safe_join(tmp_path, name)
    assert "/" in name or not is_safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00002.safetensors", "a/b/c.json", "./a", "a//b", ".hidden", "..a", "a..b", "console", "com10",
        "file name", "\u00e9" * 100, "\u4e2d\u6587", "-rf", "~root", "$HOME", "a'b",
    ],
)  # fmt: skip
def test_a_plain_name_stays_under_the_folder(name: str, tmp_path: Path) -> None:
    assert safe_join(tmp_path, name) == tmp_path / name


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES)
def test_no_text_leaves_the_folder(tmp_path: Path, name: str) -> None:
    if not (tmp_path / "out").is_symlink():
        (tmp_path / "out").symlink_to("/")
    with sound_or_refused():
        path = safe_join(tmp_path, name)
        assert path.resolve().is_relative_to(tmp_path.resolve())
        assert path != tmp_path


@settings(deadline=None, max_examples=200)
@given(NAMES)
def test_a_safe_name_is_one_plain_name_on_every_system(name: str) -> None:
    if is_safe_name(name):
        assert PureWindowsPath(name).parts == (name,)
        assert len(os.fsencode(name)) <= 255


def test_a_link_inside_the_folder_is_followed_and_one_out_of_it_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "good").symlink_to(root / "inside")
    (root / "bad").symlink_to(tmp_path / "outside")
    assert safe_join(root, "good/file").resolve() == (root / "inside" / "file").resolve()
    for name in ("bad", "bad/file"):
        with refused("leads out of its folder"):
            safe_join(root, name)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with refused("loop"):
        safe_join(tmp_path, "loop")


def test_a_folder_that_is_reached_by_a_link_has_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert safe_join(tmp_path / "link", "file") == tmp_path / "link" / "file"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mistral-7B-Instruct-v0.2", "mistral-7b-instruct-v0.2"),
        ("  My  Model! ", "my-model"),
        ("a/b\\c", "a-b-c"),
        ("../../etc", "etc"),
        ("Zephyr (beta)", "zephyr-beta"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_model_is_named_in_plain_characters(text: str, name: str) -> None:
    assert model_name(text) == name


@pytest.mark.parametrize("text", ["", "..", "---", "con", "LPT1", "\u4e2d\u6587", "\x1b"])
def test_a_name_of_which_nothing_is_left_is_refused(text: str) -> None:
    with refused("name"):
        model_name(text)


@settings(deadline=None, max_examples=100)
@given(NAMES)
def test_any_text_gives_a_safe_model_name_or_is_refused(text: str) -> None:
    with sound_or_refused():
        name = model_name(text)
        assert is_safe_name(name)
        assert model_name(name) == name


def test_everything_is_kept_under_the_home_that_was_chosen(home: Path) -> None:
    assert models_folder() == home / "models"
    assert downloads_folder() == home / "downloads"
    assert logs_folder() == home / "logs"
    assert history_file() == home / "history.db"
    assert config_file() == home / "config.toml"


@pytest.mark.parametrize("folder", [models_folder, downloads_folder, logs_folder, history_file])
def test_every_folder_from_the_home_down_is_its_owners_alone(folder: object, home: Path) -> None:
    old = os.umask(0o022)
    try:
        assert callable(folder)
        folder()
    finally:
        os.umask(old)
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_without_a_choice_the_platform_says_where_things_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALCHAT_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home().name == "localchat"
    assert tmp_path in home().parents


@pytest.mark.parametrize("text", ["relative/home", "~/home"])
def test_the_home_is_always_absolute(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_HOME", text)
    assert home().is_absolute()
    assert "~" not in str(home())


def test_a_home_of_a_user_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_HOME", "~nobody-of-this-name/home")
    with refused("LOCALCHAT_HOME"):
        home()


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with refused(str(path), "cannot be made"):
            private_folder(path)
