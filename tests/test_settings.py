"""Settings: a default, then the file, then the environment; and every mistake in them is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.settings import LIMITS, Settings, load


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


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_a_variable(field: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = getattr(field, "name", "")
    monkeypatch.setenv(f"LOCALCHAT_{name.upper()}", "7")
    assert str(getattr(load(tmp_path / "absent.toml"), name)) == "7"


def test_every_number_has_its_limits() -> None:
    assert {field.name for field in fields(Settings) if isinstance(field.default, int)} == set(LIMITS)


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
