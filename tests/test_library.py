"""Installed models: what has a sound receipt is there, everything else is not, and nothing leaves its folder."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused, with_json

from localchat import library
from localchat.errors import BadFile, LocalchatError
from localchat.library import Check, Installed, Receipt, discard_unfinished, find, folder_for, installed, record, remove
from localchat.paths import models_folder


def receipt(name: str, file_bytes: int = 5, **changes: Any) -> Receipt:
    """The receipt of a model of five bytes."""
    whole = Receipt(
        name=name, file=f"{name}.Q8_0.gguf", file_bytes=file_bytes, file_sha256="0" * 64, quant="Q8_0",
        source="owner/repo", commit="c" * 40, inputs={"model.safetensors": "1" * 64}, recipe={"a": "Q8_0"},
        versions={"localchat": "0"}, checks=(Check("header", "passed", "sound"),),
        stops=("<end>",), installed_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return replace(whole, **changes)


def install(name: str, **changes: Any) -> Installed:
    """Put a model of five bytes into the library."""
    (folder_for(name) / f"{name}.Q8_0.gguf").write_bytes(b"12345")
    return record(receipt(name, **changes))


def test_a_receipt_that_only_names_its_checks_still_opens() -> None:
    """So the first versions wrote them."""
    with_json(install("one").folder, "receipt.json", checks=["header", "layout"], fingerprints=...)
    found = find("one").receipt
    assert found.checks == (Check("header", "passed", ""), Check("layout", "passed", ""))
    assert found.fingerprints == {}


def test_what_was_recorded_is_found_as_it_was() -> None:
    model = install("one", system="Be brief.")
    assert model.receipt == receipt("one", system="Be brief.")
    assert find("one") == model
    assert installed() == [model]
    assert model.path.read_bytes() == b"12345"
    assert (model.name, model.last_used_at, model.tokens_per_second) == ("one", None, None)


def test_an_empty_library_says_how_to_fill_it() -> None:
    assert installed() == []
    with pytest.raises(LocalchatError, match="no model named 'one'") as caught:
        find("one")
    assert "localchat pull" in caught.value.hint


def test_the_last_used_comes_first() -> None:
    for day, name in enumerate(["early", "late", "middle"]):
        install(name, installed_at=f"2026-01-0{(1, 3, 2)[day]}T00:00:00+00:00")
    assert [model.name for model in installed()] == ["late", "middle", "early"]
    library.remember_use(find("early"), 12.5)
    assert [model.name for model in installed()] == ["early", "late", "middle"]
    assert find("early").tokens_per_second == 12.5


def test_a_use_without_a_rate_keeps_the_rate_that_was_known() -> None:
    library.remember_use(install("one"), 12.5)
    library.remember_use(find("one"), 0.0)
    assert find("one").tokens_per_second == 12.5


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"last_used_at": 5}', '{"tokens_per_second": "fast"}'])
def test_a_damaged_note_of_use_loses_only_itself(text: str) -> None:
    install("two")
    model = install("one")
    (model.folder / "use.json").write_text(text)
    assert {model.name for model in installed()} == {"one", "two"}
    assert find("one").last_used_at is None
    assert find("one").tokens_per_second is None


def test_near_names_are_offered() -> None:
    for name in ("mistral-7b-instruct-v0.2", "zephyr-7b-beta"):
        install(name)
    with pytest.raises(LocalchatError) as caught:
        find("mistral-7b-instruct")
    assert "mistral-7b-instruct-v0.2" in caught.value.hint
    assert "zephyr" not in caught.value.hint
    with pytest.raises(LocalchatError) as caught:
        find("qqq")
    assert "zephyr-7b-beta" in caught.value.hint


@pytest.mark.parametrize("name", ["", ".", "..", "../one", "one/", "/etc", "ONE\0", "con", "\ud800", "a" * 5000])
def test_a_name_that_is_none_is_not_found(name: str) -> None:
    install("one")
    with refused("no model named"):
        find(name)


def test_a_model_without_a_receipt_does_not_exist() -> None:
    (folder_for("one") / "one.Q8_0.gguf").write_bytes(b"12345")
    assert installed() == []
    with refused("no model named 'one'"):
        find("one")


def test_receipts_are_their_owners_alone(home: Path) -> None:
    model = install("one")
    library.remember_use(model, 1.0)
    for name in ("receipt.json", "use.json"):
        assert stat.S_IMODE((model.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(model.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "models").stat().st_mode) == 0o700


def test_another_type_of_a_model_takes_the_place_of_the_old() -> None:
    old = install("one")
    (old.folder / "one.Q4_0.gguf").write_bytes(b"1234")
    model = record(receipt("one", file="one.Q4_0.gguf", file_bytes=4, quant="Q4_0"))
    assert {path.name for path in model.folder.iterdir()} == {"one.Q4_0.gguf", "receipt.json"}
    assert [model.receipt.quant for model in installed()] == ["Q4_0"]


DAMAGES: dict[str, dict[str, Any]] = {
    "another name": {"name": "two"},
    "a file above": {"file": "../two/two.Q8_0.gguf"},
    "a file elsewhere": {"file": "/etc/passwd"},
    "no file name": {"file": ""},
    "the folder itself": {"file": "."},
    "half a surrogate pair": {"file": "\ud800"},
    "a file that is not there": {"file": "other.gguf"},
    "a file name that is a number": {"file": 7},
    "a file name that is a list": {"file": ["one.Q8_0.gguf"]},
    "another size": {"file_bytes": 6},
    "a size that is a text": {"file_bytes": "5"},
    "no size": {"file_bytes": None},
    "a missing field": {"quant": ...},
    "a type that is a number": {"quant": 7},
    "a source that is a list": {"source": []},
    "inputs that are a text": {"inputs": "x"},
    "a recipe that is a list": {"recipe": [1]},
    "a date that is a number": {"installed_at": 5},
    "checks that are a number": {"checks": 5},
    "checks of numbers": {"checks": [5]},
    "a check with another verdict": {"checks": [{"name": "a", "verdict": "fine", "detail": ""}]},
    "a check with a list for a verdict": {"checks": [{"name": "a", "verdict": [], "detail": ""}]},
    "a check without a detail": {"checks": [{"name": "a", "verdict": "passed"}]},
    "a check with a number for a name": {"checks": [{"name": 5, "verdict": "passed", "detail": ""}]},
    "fingerprints that are a list": {"fingerprints": []},
    "stops that are nothing": {"stops": None},
    "stops that are a text": {"stops": "end"},
    "a system message that is a list": {"system": [1]},
}  # fmt: skip


@pytest.mark.parametrize("changes", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_receipt_hides_its_model_and_no_other(changes: dict[str, Any]) -> None:
    install("two")
    with_json(install("one").folder, "receipt.json", **changes)
    assert [model.name for model in installed()] == ["two"]
    with refused("one"):
        find("one")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"name": NaN}', b"[" * 100_000])
def test_a_receipt_that_is_no_json_hides_its_model_and_no_other(data: bytes) -> None:
    install("two")
    (install("one").folder / "receipt.json").write_bytes(data)
    assert [model.name for model in installed()] == ["two"]
    with pytest.raises(BadFile):
        find("one")


def test_a_field_of_a_later_version_does_no_harm() -> None:
    with_json(install("one").folder, "receipt.json", later=[1])
    assert find("one").receipt == receipt("one")


@pytest.mark.parametrize("damage", ["missing", "short", "folder"])
def test_a_model_file_that_is_not_the_recorded_one_hides_its_model(damage: str) -> None:
    path = install("one").path
    path.unlink()
    if damage == "short":
        path.write_bytes(b"1234")
    if damage == "folder":
        path.mkdir()
    assert installed() == []
    with refused("one", "missing or damaged"):
        find("one")


@pytest.mark.parametrize("damage", ["receipt", "file"])
def test_a_damaged_model_can_be_removed(damage: str) -> None:
    """As its error says: pull it again, or remove it."""
    model = install("one")
    (model.folder / "receipt.json" if damage == "receipt" else model.path).write_bytes(b"")
    remove("one")
    assert not model.folder.exists()


def test_removing_a_model_that_is_not_there_is_refused() -> None:
    install("one")
    with refused("no model named 'two'"):
        remove("two")
    assert [model.name for model in installed()] == ["one"]


@pytest.mark.parametrize("how", [os.link, os.symlink])
def test_a_linked_file_stays_where_it_was_linked_from(how: Any, tmp_path: Path) -> None:
    original = tmp_path / "original.gguf"
    original.write_bytes(b"12345")
    how(original, folder_for("one") / "one.Q8_0.gguf")
    model = record(receipt("one"))
    assert find("one").path.read_bytes() == b"12345"
    assert remove("one") == 0, "nothing of the disk is freed"
    assert original.read_bytes() == b"12345"
    assert not model.folder.exists()
    assert installed() == []


def test_a_reference_to_a_disk_that_does_not_answer_hides_its_model_and_no_other() -> None:
    install("one")
    link = install("two").path
    link.unlink()
    link.symlink_to("x" * 300)  # no name of a file: asking for it fails, and not because it is gone
    assert [model.name for model in installed()] == ["one"]
    with refused("two refers to"):
        find("two")
    remove("two")
    assert not link.parent.exists()


def test_what_is_unfinished_goes_and_what_is_finished_stays() -> None:
    (folder_for("new") / "new.gguf").write_bytes(b"half")
    discard_unfinished("new")
    model = install("one")
    (model.folder / "one.Q4_0.gguf.partial").write_bytes(b"half")
    discard_unfinished("one")
    assert {path.name for path in models_folder().iterdir()} == {"one"}
    assert {path.name for path in model.folder.iterdir()} == {"one.Q8_0.gguf", "receipt.json"}


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.integers() | st.text(), max_size=2)
    | st.just("\ud800")
)
FIELDS = st.dictionaries(st.sampled_from([*Receipt.__dataclass_fields__, "other"]), VALUES, max_size=4)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FIELDS)
def test_any_receipt_gives_a_model_in_its_folder_or_a_sentence(home: Path, changes: dict[str, Any]) -> None:
    install("two")
    with_json(install("one").folder, "receipt.json", **changes)
    with sound_or_refused():
        assert find("one").path.resolve().parent == (home / "models" / "one").resolve()
    assert "two" in [model.name for model in installed()]


def test_a_model_that_cannot_be_deleted_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    install("one")
    monkeypatch.setattr(library.shutil, "rmtree", deny)
    with refused("one could not be removed: Permission denied"):
        remove("one")


@pytest.mark.parametrize("field", ["inputs", "recipe", "versions", "fingerprints"])
def test_a_receipt_whose_maps_hold_no_texts_is_damaged(field: str) -> None:
    with_json(install("one").folder, "receipt.json", **{field: {"a": 5}})
    assert installed() == []
