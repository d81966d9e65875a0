"""What localchat keeps, damaged in each way: it is found, nothing is changed, and the command mends it."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from localchat import paths
from localchat.cli import main
from localchat.doctor import files
from localchat.doctor.files import check_downloads, check_history, check_home, check_models, check_settings
from localchat.doctor.finding import Finding
from localchat.doctor.machine import check_disk
from localchat.history.schema import connect
from localchat.library import Receipt, folder_for, record
from localchat.plan.hardware import Hardware, Memory, Processor


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_home_that_is_still_to_be_made_is_sound(home: Path) -> None:
    assert only(check_home(home)).state == "ok"
    assert not home.exists(), "nothing is made by looking"


def test_a_home_that_cannot_be_made_is_broken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = only(check_home(home))
    assert found.state == "broken"
    assert "LOCALCHAT_HOME" in found.fix


def test_a_home_that_is_a_file_is_broken(home: Path) -> None:
    home.write_text("")
    assert only(check_home(home)).fix == f"mv {home} {home}.damaged"


def test_a_home_that_others_may_read_is_a_note_and_its_command_mends_it(home: Path) -> None:
    paths.models_folder()
    assert only(check_home(home)).state == "ok"
    home.chmod(0o755)
    found = only(check_home(home))
    assert found.state == "note"
    subprocess.run(shlex.split(found.fix), check=True)
    assert only(check_home(home)).state == "ok"


def test_a_file_that_cannot_be_written_is_broken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = paths.models_folder() / "locked"
    locked.touch()
    monkeypatch.setattr(files, "_is_writable", lambda path: path != locked)
    found = only(check_home(home))
    assert found.state == "broken"
    assert str(locked) in found.sentence
    assert found.fix == f"chmod -R u+rwX {home}"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert only(check_home(home)).fix == f"sudo chown -R 12345 {home}"


def test_links_that_lead_out_of_the_home_are_not_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (paths.models_folder() / "link").symlink_to("/etc/passwd")
    looked_at: list[Path] = []
    monkeypatch.setattr(files, "_is_writable", lambda path: looked_at.append(path) or True)
    assert only(check_home(home)).state == "ok"
    assert looked_at == [home, home / "models"]


@pytest.fixture
def history(home: Path) -> Path:
    """A sound history."""
    connect(paths.history_file()).close()
    return home / "history.db"


def test_a_sound_history(history: Path) -> None:
    assert only(check_history(history)).sentence == f"{history} is sound"
    assert only(check_history(history.with_name("none.db"))).state == "ok"


@pytest.mark.parametrize("damage", ["text", "cut", "folder"])
def test_a_damaged_history_is_broken_and_stays_where_it_is(history: Path, damage: str) -> None:
    data = history.read_bytes()
    history.unlink()
    if damage == "folder":
        history.mkdir()
    else:
        history.write_bytes(b"no database at all" * 99 if damage == "text" else data[: len(data) // 2])
    found = only(check_history(history))
    assert found.state == "broken"
    assert found.fix == f"mv {history} {history}.damaged"
    assert history.exists()


def test_a_history_of_a_newer_localchat_is_broken(history: Path) -> None:
    with closing(sqlite3.connect(history)) as connection:
        connection.execute("PRAGMA user_version=99")
    assert "newer localchat" in only(check_history(history)).sentence


def test_settings_that_are_wrong_are_broken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "config.toml"
    assert only(check_settings(path)).state == "ok"
    home.mkdir()
    path.write_text("context = 'large'")
    found = only(check_settings(path))
    assert (found.state, found.fix) == ("broken", f"mv {path} {path}.damaged")
    path.write_text("context = 4096")
    assert only(check_settings(path)).state == "ok"
    monkeypatch.setenv("LOCALCHAT_THREADS", "many")
    monkeypatch.setenv("LOCALCHAT_CONTEXT", "512")
    assert only(check_settings(path)).fix == "unset LOCALCHAT_THREADS"


@pytest.fixture
def model(chatml_file: Path) -> Path:
    """The file of an installed model."""
    folder = folder_for("mine")
    data = chatml_file.read_bytes()
    (folder / chatml_file.name).write_bytes(data)
    receipt = Receipt(
        name="mine", file=chatml_file.name, file_bytes=len(data), file_sha256="", quant="Q8_0", source="acme/tiny",
        commit=None, inputs={}, recipe={}, versions={}, checks=(),
    )  # fmt: skip
    return record(receipt).path


def test_installed_models_whose_files_are_there(home: Path, model: Path) -> None:
    assert model.exists()
    assert only(check_models(home)).sentence == "1 installed, all files are there"


@pytest.mark.parametrize("damage", ["gone", "cut", "header"])
def test_a_model_whose_file_is_damaged_is_pulled_again(home: Path, model: Path, damage: str) -> None:
    data = model.read_bytes()
    model.unlink()
    if damage == "cut":
        model.write_bytes(data[:1000])
    elif damage == "header":
        model.write_bytes(b"XXXX" + data[4:])
    found = only(check_models(home))
    assert found.state == "broken"
    assert found.sentence.startswith("mine: ")
    assert found.fix == "localchat pull acme/tiny --name mine"


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"source": 5}', '{"source": "--no"}'])
def test_a_model_whose_receipt_is_damaged_is_removed(home: Path, text: str) -> None:
    (home / "models" / "mine" / "receipt.json").write_text(text)
    found = only(check_models(home))
    assert (found.state, found.fix) == ("broken", "localchat remove mine")
    assert main(shlex.split(found.fix)[1:]) == 0
    assert only(check_models(home)).state == "ok"


def test_a_source_with_words_of_the_shell_stays_one_word(home: Path, model: Path) -> None:
    model.unlink()
    receipt = home / "models" / "mine" / "receipt.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "source": "a; rm -rf $HOME \x1b[2J"}))
    fix = only(check_models(home)).fix
    assert "\x1b" not in fix
    assert shlex.split(fix)[2].startswith("a; rm -rf $HOME ")


@pytest.mark.usefixtures("model")
def test_on_a_full_disk_the_model_that_was_not_used_for_longest_may_go(home: Path) -> None:
    full = Hardware("linux", Processor("CPU", 4, 8), Memory(1 << 34, 1 << 33), disk_free_bytes=0)
    assert only(check_disk(full, home)).fix == "localchat remove mine"


# Downloads


def test_what_stopped_pulls_have_left_is_told(tmp_path: Path) -> None:
    assert check_downloads(tmp_path / "downloads") == []
    (tmp_path / "downloads" / "acme--tiny@0123").mkdir(parents=True)
    assert check_downloads(tmp_path / "downloads") == []
    (tmp_path / "downloads" / "acme--tiny@0123" / "tiny.Q8_0.gguf.partial").write_bytes(bytes(2048))
    finding = only(check_downloads(tmp_path / "downloads"))
    assert finding.state == "note"
    assert "keep up to 2.0 KiB in" in finding.sentence
