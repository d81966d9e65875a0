"""Settings: a default, then the file, then the environment; and every mistake in them is named."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.settings import ABOUT, LIMITS, SCALARS, Settings, load, save, sources, variable


def config(folder: Path, text: str) -> Path:
    """A settings file of this text."""
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "absent.toml") == Settings()
    assert (Settings().context, Settings().threads, Settings().system) == (0, 0, "")
    assert Settings().idle_minutes == 30
    assert load() == Settings()


def test_the_file_is_stronger_than_the_default_and_the_environment_stronger_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(tmp_path, 'context = 4096\nthreads = 2\nsystem = "Be brief."\n')
    assert load(path) == Settings(context=4096, threads=2, system="Be brief.")
    monkeypatch.setenv("LOCALCHAT_CONTEXT", "2048")
    monkeypatch.setenv("LOCALCHAT_SYSTEM", "")
    assert load(path) == Settings(context=2048, threads=2, system="")


def test_the_file_of_the_home_is_read(home: Path) -> None:
    home.mkdir()
    config(home, "threads = 3")
    assert load() == Settings(threads=3)


@pytest.mark.parametrize("name", SCALARS)
def test_every_setting_has_a_variable(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, value = ("off", False) if isinstance(SCALARS[name], bool) else ("7", type(SCALARS[name])(7))
    monkeypatch.setenv(variable(name), text)
    assert getattr(load(tmp_path / "absent.toml"), name) == value
    assert sources(tmp_path / "absent.toml")[name] == "environment"


def test_every_number_has_its_limits_and_every_setting_an_explanation() -> None:
    assert {name for name, default in SCALARS.items() if type(default) is int} == set(LIMITS)
    assert all(0 < len(ABOUT[name]) <= 60 for name in SCALARS)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("YES", True), ("0", False), ("No", False)])
def test_a_truth_value_has_the_usual_words(
    text: str, value: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOCALCHAT_TITLES", text)
    assert load(tmp_path / "absent.toml").titles is value


def test_a_word_that_is_no_truth_value_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALCHAT_TITLES", "maybe")
    with refused("LOCALCHAT_", "titles"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize("name", LIMITS)
def test_a_number_at_its_limits_is_taken_and_one_beyond_refused(name: str, tmp_path: Path) -> None:
    low, high = LIMITS[name]
    for value in (low, high):
        assert getattr(load(config(tmp_path, f"{name} = {value}")), name) == value
    for value in (low - 1, high + 1):
        with refused("config.toml", name):
            load(config(tmp_path, f"{name} = {value}"))


BAD = {
    "unknown key": ("contxt = 1", "contxt"),
    "unknown table": ("[model]\ncontext = 1", "model"),
    "text for a number": ('context = "8192"', "context"),
    "fraction": ("context = 1.5", "context"),
    "truth value for a number": ("threads = true", "threads"),
    "number for a text": ("theme = 3", "theme"),
    "list": ("threads = [1]", "threads"),
    "date": ("system = 2024-01-01", "system"),
    "number for a truth value": ("titles = 1", "titles"),
    "keys that are no table": ('keys = "ctrl+g"', "keys"),
    "a key that is no text": ("[keys]\nnew = 3", "new"),
    "presets that are no table": ("presets = 1", "presets"),
    "a preset that is no table": ("[presets]\ncalm = 0.2", "calm"),
    "a preset's unknown field": ("[presets.calm]\nheat = 1", "heat"),
    "a preset's number out of range": ("[presets.calm]\ntemperature = 11", "temperature"),
    "a preset's fraction for a whole number": ("[presets.calm]\ntop_k = 1.5", "top_k"),
    "a preset by a name that is built in": ("[presets.precise]\ntop_k = 1", "precise"),
    "broken": ("context = ", "not valid TOML"),
    "doubled": ("context = 1\ncontext = 2", "not valid TOML"),
    "too deep": ("theme = " + "[" * 100_000, "not valid TOML"),
    "too long a number": ("context = " + "9" * 5000, "not valid TOML"),
    "too large a number": ("context = 0x" + "f" * 5000, "context"),
    "too large a number for a text": ("theme = 0x" + "f" * 5000, "theme"),
    "too large": ("#" * (1 << 20) + "\n", "larger than"),
}


@pytest.mark.parametrize(("text", "word"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_by_its_name_and_key(text: str, word: str, tmp_path: Path) -> None:
    with refused("config.toml", word):
        load(config(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b'system = "\xff"')
    with refused("config.toml", "not valid TOML"):
        load(tmp_path / "config.toml")


@pytest.mark.parametrize("text", ["many", "", "-1", "1.5", "99999999999", "9" * 5000, "\u00b2"])
def test_a_bad_variable_is_refused_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCALCHAT_CONTEXT", text)
    with refused("LOCALCHAT_", "context"):
        load(tmp_path / "absent.toml")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["context", "theme", " = ", "1", '"a"', "[", "]", "\n", "{", "}", "0x", "é", "="])))
def test_any_text_gives_settings_or_a_sentence(tmp_path: Path, words: list[str]) -> None:
    with sound_or_refused():
        assert isinstance(load(config(tmp_path, "".join(words))), Settings)


COMMENTED = """\
# mine
context = 4096  # as the other program has it

theme   =   "nord"

[keys]
# the old habit
new = "ctrl+g"

[presets.calm]
temperature = 0.3 # not more
"""


def test_saving_changes_what_was_changed_and_nothing_else(tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    saved = save({"context": 8192, "titles": False}, path)
    assert path.read_text("utf-8") == COMMENTED.replace("4096", "8192").replace(
        'theme   =   "nord"\n', 'theme   =   "nord"\ntitles = false\n'
    )
    assert saved == load(path)
    assert (saved.context, saved.titles, saved.theme, saved.keys) == (8192, False, "nord", {"new": "ctrl+g"})


def test_a_table_is_saved_whole_and_keeps_the_comments_of_what_stays(tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    presets = {"calm": {"temperature": 0.3, "top_k": 20}, "my own": {"top_p": 0.5}}
    saved = save({"keys": {"quit": "f10"}, "presets": presets}, path)
    assert (saved.keys, saved.presets) == ({"quit": "f10"}, presets)
    assert "temperature = 0.3 # not more" in path.read_text("utf-8")
    assert "# mine\ncontext = 4096  # as the other program has it" in path.read_text("utf-8")


def test_none_and_an_empty_table_take_a_setting_out_of_the_file(tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    assert save({"context": None, "keys": {}, "presets": {}, "threads": None}, path) == Settings(theme="nord")
    assert set(tomllib.loads(path.read_text("utf-8"))) == {"theme"}
    assert "# mine" in path.read_text("utf-8")


def test_the_file_is_made_where_there_is_none_and_is_private(home: Path) -> None:
    save({"system": 'Be brief.\n"Really"\t\x1b[31m'})
    assert load() == Settings(system='Be brief.\n"Really"\t\x1b[31m')
    if os.name != "nt":
        assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["config.toml"]


def test_a_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    real = config(tmp_path, "# in a repository\n")
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    save({"threads": 2}, link)
    assert link.is_symlink()
    assert load(real).threads == 2


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"context": -1}, "context"),
        ({"context": True}, "context"),
        ({"titles": "yes"}, "titles"),
        ({"fonts": 1}, "fonts"),
        ({"presets": {"calm": {"heat": 1}}}, "heat"),
        ({"keys": {"new": 1}}, "new"),
    ],
)
def test_what_would_not_load_is_not_saved(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    with refused("config.toml", word):
        save(changes, path)
    assert path.read_text("utf-8") == COMMENTED


@pytest.mark.parametrize(("text", "word"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_not_written_over(text: str, word: str, tmp_path: Path) -> None:
    path = config(tmp_path, text)
    with refused("config.toml", word):
        save({"sessions_gib": 1}, path)
    assert path.read_text("utf-8") == text


def test_what_the_environment_sets_is_not_changed_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    monkeypatch.setenv("LOCALCHAT_THEME", "gruvbox")
    with refused("LOCALCHAT_THEME", "theme"):
        save({"theme": "localchat", "threads": 1}, path)
    assert path.read_text("utf-8") == COMMENTED
    assert save({"threads": 1}, path).theme == "gruvbox"


def test_it_is_known_where_each_setting_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = config(tmp_path, COMMENTED)
    monkeypatch.setenv("LOCALCHAT_THEME", "gruvbox")
    found = sources(path)
    assert (found["theme"], found["context"], found["titles"]) == ("environment", "file", "default")
    assert (found["keys"], found["presets"]) == ("file", "file")


WORDS = [
    "context", "theme", "keys", "[keys]", "[presets.a]", "top_k", " = ", "1", '"a"', "[", "]", "\n", "\r\n", "#", "{",
    "}", "a.",
]  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(WORDS)),
    st.fixed_dictionaries(
        {},
        optional={
            "context": st.integers(0, 9999) | st.none(),
            "theme": st.text() | st.none(),
            "keys": st.dictionaries(st.text(), st.text(), max_size=3),
            "presets": st.dictionaries(
                st.from_regex(r"[a-z .]{1,5}z", fullmatch=True), st.just({"top_k": 3}), max_size=2
            ),
        },
    ),
)
def test_any_file_and_any_change_give_what_was_asked_for_or_a_sentence(
    tmp_path: Path, words: list[str], changes: dict[str, Any]
) -> None:
    path = config(tmp_path, "".join(words))
    with sound_or_refused():
        before = load(path)
        after = save(changes, path)
        assert after == load(path)
        for name in SCALARS:
            expected = changes.get(name, getattr(before, name))
            assert getattr(after, name) == (SCALARS[name] if expected is None else expected)
        for name in ("keys", "presets"):
            assert getattr(after, name) == changes.get(name, getattr(before, name))
