"""Models of other apps become models here: linked, once, with their manner, and never against what was promised."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from gguf_bytes import gguf
from test_adopt_apps import OWN, SHAPE, OllamaFolder, cached, put
from test_cli import json_of, sentence_of
from tiny import refused

from localchat import library
from localchat.cli import main
from localchat.errors import LocalchatError
from localchat.library import Installed, installed
from localchat.pull import adopt as adopting
from localchat.pull import link
from localchat.pull.adopt import AlreadyHere, Known, chosen, find, placed
from localchat.pull.apps.candidate import Place
from localchat.pull.apps.found import Found
from localchat.pull.events import Ready

Captured = pytest.CaptureFixture[str]
LM_STUDIO = ".lmstudio/models"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A home without any app; the command line looks there as well."""
    place = Place(tmp_path / "ada", {}, "linux", root=tmp_path / "root")
    place.home.mkdir()
    monkeypatch.setattr(adopting, "this_place", lambda: place)
    return place


@pytest.fixture
def small() -> bytes:
    """A sound header that nothing can run."""
    return gguf(SHAPE)


def ollama(place: Place) -> OllamaFolder:
    return OllamaFolder(place.home / ".ollama/models")


def adopted(found: Found) -> Installed:
    *_, ready = adopting.adopt(found)
    assert isinstance(ready, Ready)
    return ready.model


def named(place: Place, name: str) -> Found:
    (found,) = chosen([name], find(place))
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What is found


def test_where_there_is_no_app_nothing_is_found(place: Place, capsys: Captured) -> None:
    assert find(place) == []
    assert json_of(capsys, "adopt") == []
    assert "--from FOLDER" in sentence_of(capsys, "adopt", code=0)
    assert "nothing to adopt" in sentence_of(capsys, "adopt", "--all", code=0)


def test_one_file_of_several_apps_is_found_once_and_named_by_each(place: Place, small: bytes) -> None:
    ollama(place).model(f"{OWN}/smol/latest", model=small, system="Be brief.")
    put(place.home / LM_STUDIO / "o/r/smol-Q8_0.gguf", small)
    linked = cached(place.home / ".cache/huggingface/hub", "o/r", "hub-smol.gguf", small)
    (place.home / ".cache/llama.cpp").mkdir()
    os.link(linked.resolve(), place.home / ".cache/llama.cpp/o_r_cached.gguf")
    found = {one.app: one for one in find(place)}
    assert {app: (one.name, one.same_as) for app, one in found.items()} == {
        "Ollama": ("smol", ""),
        "LM Studio": ("smol-q8_0", ""),  # nobody says what it hashes to
        "Hub cache": ("hub-smol", "smol"),
        "llama.cpp": ("o_r_cached", "smol"),
    }


def test_names_are_never_given_twice() -> None:
    files = [Found("App", f"{n}", Path(f"/{n}"), "Same", identity=(1, n), quant="Q8_0") for n in range(5)]
    names = [one.name for one in placed(files, [Known("same", "x", "elsewhere", 1, (2, 2))])]
    assert names == ["same-q8_0", "same-app", "same-2", "same-3", "same-4"]


@pytest.mark.parametrize("suggestion", ["", "...", "\u202e", "nul", "/", "a" * 5000, "\ud800", "🙂"])
def test_a_name_that_cannot_be_used_gets_another(suggestion: str) -> None:
    (found,) = placed([Found("App", "title", Path("/x"), suggestion)], [])
    assert found.name
    assert len(found.name) <= 200


@pytest.mark.parametrize(
    ("found", "is_here"),
    [
        ({"identity": (1, 2)}, True),
        ({"identity": (1, 3), "sha256": "a"}, True),
        ({"identity": (1, 3), "bytes": 7}, True),
        ({"identity": (1, 3), "bytes": 8}, False),
        ({"identity": (1, 2), "trouble": "damaged"}, False),
    ],
)
def test_what_is_here_is_known_by_inode_hash_or_source(found: dict[str, object], is_here: bool) -> None:
    file = Found("App", "title", Path("/x/y.gguf"), "y", **found)  # type: ignore[arg-type]
    (one,) = placed([file], [Known("mine", "a", "/x/y.gguf", 7, (1, 2))])
    assert one.adopted_as == ("mine" if is_here else "")


def test_a_name_may_be_begun_and_must_be_clear() -> None:
    files = [Found("App", title, Path("/"), name=name) for title, name in (("Own:1", "one"), ("Own:2", "one-more"))]
    assert chosen(["one"], files) == files[:1]
    assert chosen(["own:2", "one-", "one-m"], files) == files[1:]
    with refused("could be one or one-more"):
        chosen(["on"], files)
    with refused("no app here has a model called x"):
        chosen(["x"], files)


def test_the_page_tells_models_from_the_rest(place: Place, small: bytes, capsys: Captured) -> None:
    folder = place.home / LM_STUDIO
    put(folder / "o/r/sound-Q8_0.gguf", small)
    put(folder / "o/r/cut\x1b[31m.gguf", small[:100])
    put(folder / "o/r/mmproj.gguf", gguf((SHAPE[0].replace(b"llama", b"clip\0")[:-1].replace(b"\5", b"\4"),)))
    assert main(["adopt"]) == 0
    said = capsys.readouterr()
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["LM", "Studio", "Q8_0", *f"{len(small)} B 4.0 KiB".split(), "sound"]
    ]
    assert "✗ o/r/cut␛[31m.gguf (LM Studio): " in said.err
    assert "\x1b" not in said.err
    assert "No models: 1 projector." in said.err
    assert "1 model, 4.0 KiB on the disk" in said.err


def test_a_folder_that_is_named_is_looked_through_alone(
    place: Place, tmp_path: Path, small: bytes, capsys: Captured
) -> None:
    put(place.home / LM_STUDIO / "o/r/a.gguf", small)
    put(tmp_path / "mine/sub/b.gguf", small)
    (one,) = json_of(capsys, "adopt", "--from", str(tmp_path / "mine"))
    assert (one["app"], one["name"], one["path"]) == ("folder", "b", str(tmp_path / "mine/sub/b.gguf"))
    assert (one["architecture"], one["quant"], one["bytes"]) == ("llama", "Q8_0", len(small))


def test_a_folder_of_an_app_is_recognized(place: Place, tmp_path: Path, small: bytes) -> None:
    OllamaFolder(tmp_path / "ollama").model(f"{OWN}/smol/1b", model=small)
    cached(tmp_path / "hub", "o/r", "a.gguf", small)
    put(tmp_path / "webui/user_data/models/b.gguf", small)
    put(tmp_path / "webui/elsewhere/c.gguf", small)
    titles = {name: [one.title for one in find(place, tmp_path / name)] for name in ("ollama", "hub", "webui")}
    assert titles == {"ollama": ["smol:1b"], "hub": ["o/r/a.gguf"], "webui": ["b.gguf"]}


def test_the_folder_of_a_damaged_model_is_not_given_away(place: Place, small: bytes) -> None:
    library.folder_for("smol")
    put(place.home / LM_STUDIO / "o/r/smol.gguf", small)
    assert [one.name for one in find(place)] == ["smol-q8_0"]


def test_a_folder_of_others_is_said_to_be_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ollama(place).folder
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    (found,) = find(place)
    assert (found.app, found.trouble) == ("Ollama", f"you may not look into {folder}")


# Adopting


def test_a_model_of_ollama_is_linked_with_its_manner(place: Place, chatml_file: Path) -> None:
    params = json.dumps({"stop": ["<stop>"], "temperature": 0.2, "num_ctx": 2048})
    ollama(place).model(f"{OWN}/smol/1b", model=chatml_file.read_bytes(), system="Be brief.", params=params)
    model = adopted(found := named(place, "smol:1b"))
    receipt = model.receipt
    assert model.path.read_bytes() == chatml_file.read_bytes()
    assert (receipt.name, receipt.source, receipt.file_sha256) == ("smol-1b", str(found.path), digest(chatml_file))
    assert (receipt.stops, receipt.system, receipt.sampling) == (("<stop>",), "Be brief.", {"temperature": 0.2})
    assert receipt.notes[0].startswith("adopted from Ollama, which calls it smol:1b: a ")
    assert "not taken over from Ollama: num_ctx" in receipt.notes
    again = named(place, "smol:1b")
    assert (again.name, again.adopted_as, again.is_new) == ("smol-1b", "smol-1b", False)
    with pytest.raises(AlreadyHere):
        adopted(again)
    library.remove("smol-1b")
    assert digest(found.path) == digest(chatml_file)


def test_a_model_whose_name_is_no_unicode_is_adopted_all_the_same(place: Place, chatml_file: Path) -> None:
    ollama(place).model(f"{OWN}/a\udcffb/latest", model=chatml_file.read_bytes())
    (found,) = find(place)
    assert "which calls it a\ufffdb" in adopted(found).receipt.notes[0]
    assert library.find(found.name).receipt.sampling == {}


def test_a_blob_that_is_not_its_digest_is_not_kept(place: Place, chatml_file: Path) -> None:
    shop = ollama(place)
    shop.model(f"{OWN}/liar/latest", model=chatml_file.read_bytes())
    blob = named(place, "liar").path
    whole = bytearray(blob.read_bytes())
    whole[-1] ^= 1
    blob.write_bytes(whole)
    with refused("the file of liar is not what Ollama says it is"):
        adopted(named(place, "liar"))
    assert installed() == []
    assert blob.read_bytes() == whole


def test_the_same_bytes_are_not_adopted_twice(place: Place, chatml_file: Path) -> None:
    for name in ("one", "two"):
        put(place.home / LM_STUDIO / f"o/r/{name}.gguf", chatml_file.read_bytes())
    adopted(named(place, "one"))
    with pytest.raises(AlreadyHere, match=r"o/r/two\.gguf of LM Studio is here already, as one"):
        adopted(named(place, "two"))
    assert [model.name for model in installed()] == ["one"]
    assert (place.home / LM_STUDIO / "o/r/two.gguf").read_bytes() == chatml_file.read_bytes()


def test_where_no_other_link_can_be_made_the_file_is_referred_to(
    place: Place, chatml_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr(link, "LADDER", link.LADDER[2:])
    path = put(place.home / LM_STUDIO / "o/r/far.gguf", chatml_file.read_bytes())
    model = adopted(named(place, "far"))
    assert model.path.is_symlink()
    assert f"a reference to {path}" in model.receipt.notes[0]
    path.unlink()
    assert f"✗ far refers to {path}, which is gone; remove it: localchat remove far" in sentence_of(
        capsys, "adopt", code=0
    )
    library.remove("far")
    assert installed() == []


def test_all_are_adopted_and_a_bad_one_stops_none(place: Place, chatml_file: Path, capsys: Captured) -> None:
    shop = ollama(place)
    shop.model(f"{OWN}/a/latest", {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "0" * 64})
    shutil.copyfile(chatml_file, shop.folder / "blobs" / f"sha256-{'0' * 64}")
    put(place.home / LM_STUDIO / "o/r/b.gguf", chatml_file.read_bytes())
    put(place.home / LM_STUDIO / "o/r/c.gguf", chatml_file.read_bytes()[:500])
    assert main(["adopt", "--all", "--json"]) == 1
    said = capsys.readouterr()
    assert "1 of 2 models could not be adopted" in said.err
    assert "the file of a is not what Ollama says it is" in said.err
    assert [model.name for model in installed()] == ["b"]
    assert [model["name"] for model in json_of(capsys, "adopt", "b")] == ["b"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(place: Place, chatml_file: Path, capsys: Captured) -> None:
    path = put(place.home / LM_STUDIO / "o/r/b.gguf", chatml_file.read_bytes())
    before = path.stat()
    (one,) = json_of(capsys, "adopt", "b", "--dry-run")
    assert (one["name"], one["adopted_as"]) == ("b", "")
    assert installed() == []
    assert path.stat() == before


def test_names_and_all_together_are_wrong_usage(capsys: Captured) -> None:
    assert "give names, or --all" in sentence_of(capsys, "adopt", "x", "--all", code=2)


def test_what_cannot_be_adopted_says_why(place: Place, small: bytes) -> None:
    put(place.home / LM_STUDIO / "o/r/cut.gguf", small[:100])
    with pytest.raises(LocalchatError, match=r"o/r/cut\.gguf cannot be adopted: .*cut short"):
        adopted(named(place, "cut"))
