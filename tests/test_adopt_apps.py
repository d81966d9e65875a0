"""Where other apps keep models, and what of their own files is believed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import ENTRIES, INT32, PAIRS, STRING, UINT32, array, gguf, number, pair, text
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import BadFile
from localchat.pull.apps import gpt4all, hub_cache, jan, llama_cpp, lm_studio, ollama, text_generation_webui
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.found import Found, look
from localchat.pull.apps.manner import manner_of
from localchat.pull.apps.walk import DEPTH_LIMIT, files_below, model_files, suggested

KIND = "application/vnd.ollama.image."
SHAPE = (
    *PAIRS,
    *(pair(f"llama.{name}", UINT32, number(2)) for name in ("attention.head_count", "feed_forward_length")),
    *(pair(f"llama.{name}", UINT32, number(64)) for name in ("embedding_length", "context_length")),
)
"""What a plan needs of a header."""
TEMPLATE = pair("tokenizer.chat_template", STRING, text("{{ messages }}"))
HASH = "a" * 64


def place(home: Path, platform: str = "linux", **environment: str) -> Place:
    return Place(home, environment, platform, root=home / "root")


def put(path: Path, data: bytes | str = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def one(candidates: Iterable[Candidate]) -> Candidate:
    (candidate,) = candidates
    return candidate


def looked(path: Path) -> Found:
    return look(Candidate("app", "title", path), {})


class OllamaFolder:
    """A folder of Ollama's, filled layer by layer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)
        (folder / "manifests").mkdir()

    def layer(self, kind: str, data: bytes | str) -> dict[str, str]:
        raw = data.encode() if isinstance(data, str) else data
        digest = hashlib.sha256(raw).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(raw)
        return {"mediaType": KIND + kind, "digest": f"sha256:{digest}"}

    def model(self, name: str, *layers: Any, **kinds: bytes | str) -> Path:
        listed = [*layers, *(self.layer(kind, data) for kind, data in kinds.items())]
        return put(self.folder / "manifests" / name, json.dumps({"layers": listed}))

    def found(self) -> list[Candidate]:
        return list(ollama.models_in(self.folder))


@pytest.fixture
def shop(tmp_path: Path) -> OllamaFolder:
    return OllamaFolder(tmp_path / "ollama")


OWN = "registry.ollama.ai/library"

# Folders


@pytest.mark.parametrize(
    ("platform", "variables", "data", "config", "cache"),
    [
        ("linux", {}, ".local/share", ".config", ".cache"),
        ("linux", {"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c"}, "/d", ".config", "/c"),
        ("linux", {"XDG_DATA_HOME": "", "APPDATA": "/w"}, ".local/share", ".config", ".cache"),
        ("darwin", {}, "Library/Application Support", "Library/Application Support", "Library/Caches"),
        ("win32", {}, "AppData/Roaming", "AppData/Roaming", "AppData/Local"),
        ("win32", {"APPDATA": "/r", "LOCALAPPDATA": "/l"}, "/r", "/r", "/l"),
    ],
)
def test_each_system_has_its_own_folders(
    platform: str, variables: dict[str, str], data: str, config: str, cache: str
) -> None:
    here = place(Path("/home/ada"), platform, **variables)
    assert (here.data, here.config, here.cache) == tuple(Path("/home/ada") / part for part in (data, config, cache))


def test_ollama_is_where_its_variable_says_and_in_its_service(tmp_path: Path) -> None:
    own, service = tmp_path / ".ollama/models", tmp_path / "root/usr/share/ollama/.ollama/models"
    assert ollama.folders(place(tmp_path)) == [own, service]
    assert ollama.folders(place(tmp_path, "darwin", OLLAMA_MODELS="/big")) == [Path("/big"), own]


def test_the_hubs_cache_is_where_the_hubs_client_has_it(tmp_path: Path) -> None:
    assert hub_cache.folders(place(tmp_path)) == [tmp_path / ".cache/huggingface/hub"]
    assert hub_cache.folders(place(tmp_path, "win32")) == [tmp_path / ".cache/huggingface/hub"]
    assert hub_cache.folders(place(tmp_path, HF_HOME="/hf")) == [Path("/hf/hub")]
    assert hub_cache.folders(place(tmp_path, HF_HOME="/hf", HF_HUB_CACHE="/cache")) == [Path("/cache")]
    assert hub_cache.folders(place(tmp_path, HF_HOME="~/hf")) == [tmp_path / "hf/hub"]


def test_llama_cpp_has_a_cache_of_its_own(tmp_path: Path) -> None:
    assert llama_cpp.folders(place(tmp_path)) == [tmp_path / ".cache/llama.cpp"]
    assert llama_cpp.folders(place(tmp_path, "darwin")) == [tmp_path / "Library/Caches/llama.cpp"]
    assert llama_cpp.folders(place(tmp_path, LLAMA_CACHE="/cache")) == [Path("/cache")]


def test_lm_studio_is_looked_for_where_its_settings_say(tmp_path: Path) -> None:
    put(tmp_path / ".lmstudio-home-pointer", "/moved\n")
    put(tmp_path / ".config/LM Studio/settings.json", '{"downloadsFolder": "/big/models"}')
    folders = lm_studio.folders(place(tmp_path))
    assert {tmp_path / ".lmstudio/models", tmp_path / ".cache/lm-studio/models"} < set(folders)
    assert {Path("/moved/models"), Path("/big/models")} < set(folders)


@pytest.mark.parametrize(
    "settings",
    ['{"downloadsFolder": "models"}', '{"downloadsFolder": 5}', "[]", "{", '{"downloadsFolder": "/a\\u0000b"}'],
)
def test_settings_that_make_no_sense_name_no_folder(tmp_path: Path, settings: str) -> None:
    usual = lm_studio.folders(place(tmp_path))
    put(tmp_path / ".lmstudio/settings.json", settings)
    put(tmp_path / ".local/share/Jan/settings.json", settings.replace("downloadsFolder", "data_folder"))
    assert lm_studio.folders(place(tmp_path)) == usual
    assert jan.folders(place(tmp_path)) == [tmp_path / "jan", tmp_path / ".local/share/Jan/data"]


def test_gpt4all_is_looked_for_where_its_settings_say(tmp_path: Path) -> None:
    put(tmp_path / ".config/nomic.ai/GPT4All.ini", "[General]\nmodelPath=/big/gpt4all\n")
    own = tmp_path / ".local/share/nomic.ai/GPT4All"
    assert gpt4all.folders(place(tmp_path)) == [own, Path("/big/gpt4all"), tmp_path / ".cache/gpt4all"]


def test_text_generation_webui_has_two_folders_of_models(tmp_path: Path) -> None:
    put(tmp_path / "user_data/models/a.gguf")
    put(tmp_path / "models/b.gguf")
    assert text_generation_webui.is_one(tmp_path)
    assert [found.title for found in text_generation_webui.models_in(tmp_path)] == ["a.gguf", "b.gguf"]


# Ollama


def test_an_ollama_model_comes_with_its_manner(shop: OllamaFolder) -> None:
    params = {"stop": ["<a>", "<b>"], "temperature": 0.2, "num_predict": 90, "num_ctx": 2048, "top_k": 40.5}
    shop.model(
        f"{OWN}/mistral/7b", model=b"weights", template="{{ .Prompt }}", system=" Be brief.\n",
        params=json.dumps(params), license="MIT License\n\nmore",
    )  # fmt: skip
    found = one(shop.found())
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert (found.app, found.title, found.suggestion) == ("Ollama", "mistral:7b", "mistral-7b")
    assert (found.sha256, found.path.read_bytes()) == (sha256, b"weights")
    assert (found.stops, found.system) == (("<a>", "<b>"), "Be brief.")
    assert found.sampling == {"temperature": 0.2, "max_tokens": 90}
    assert found.notes[0] == "not taken over from Ollama: num_ctx, top_k"
    assert any("Jinja" in note for note in found.notes)
    assert found.notes[-1] == "its licence in Ollama: MIT License"


@pytest.mark.parametrize(
    ("path", "title", "name"),
    [
        (f"{OWN}/mistral/latest", "mistral", "mistral"),
        (f"{OWN}/mistral/7b-instruct-q4_0", "mistral:7b-instruct-q4_0", "mistral-7b-instruct"),
        ("registry.ollama.ai/ada/own/v2", "ada/own:v2", "own-v2"),
        ("hf.co/owner/Repo-GGUF/Q4_K_M", "hf.co/owner/Repo-GGUF:Q4_K_M", "Repo"),
        ("host:5000/library/m/latest", "host:5000/library/m", "m"),
    ],
)
def test_ollama_names_are_read_from_the_path(path: str, title: str, name: str) -> None:
    assert ollama.title_of(tuple(path.split("/"))) == title
    assert ollama.suggested(title) == name


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd", f"sha256:{HASH}/..", f"sha256-{HASH[1:]}", f"sha256:{HASH.upper()}",
        f"sha256:{HASH}\n", f"md5:{HASH}", "", None, 7, ["sha256:" + HASH],
    ],
)  # fmt: skip
def test_only_a_digest_names_a_blob(shop: OllamaFolder, digest: Any) -> None:
    shop.model(f"{OWN}/evil/latest", {"mediaType": KIND + "model", "digest": digest})
    assert "no sha256" in one(shop.found()).trouble


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{",
        "[]",
        '{"layers": 5}',
        '{"layers": []}',
        '{"layers": [1]}',
        "[" * 9999,
        '{"layers": [' + "{}," * 300 + "{}]}",
    ],
)
def test_a_manifest_that_makes_no_sense_is_listed_with_the_reason(shop: OllamaFolder, manifest: str) -> None:
    put(shop.folder / "manifests" / OWN / "bad" / "latest", manifest)
    shop.model(f"{OWN}/good/latest", model=b"weights")
    assert {found.title: bool(found.trouble) for found in shop.found()} == {"bad": True, "good": False}


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        ({"tensor": b"x"}, "no single model file"),
        ({"model": b"x", "adapter": b"y"}, "applies an adapter"),
        ({"model": b"x", "params": "[]"}, "no JSON object"),
        ({"model": b"x", "system": b"\xff"}, "no text"),
        ({"model": b"x", "system": b"a" * (2 << 20)}, "larger than"),
    ],
)
def test_what_one_file_cannot_be_is_not_adopted(shop: OllamaFolder, kinds: dict[str, bytes | str], why: str) -> None:
    shop.model(f"{OWN}/odd/latest", **kinds)
    assert why in one(shop.found()).trouble


def test_a_layer_that_is_no_file_is_not_waited_for(shop: OllamaFolder) -> None:
    layer = shop.layer("system", "x")
    blob = shop.folder / "blobs" / layer["digest"].replace(":", "-")
    blob.unlink()
    os.mkfifo(blob)
    shop.model(f"{OWN}/odd/latest", layer, model=b"weights")
    assert "is not there" in one(shop.found()).trouble


def test_blobs_of_early_versions_are_found(shop: OllamaFolder) -> None:
    shop.model(f"{OWN}/old/latest", model=b"weights")
    blob = one(shop.found()).path
    blob.rename(blob.with_name(blob.name.replace("-", ":")))
    assert one(shop.found()).path.read_bytes() == b"weights"


def test_of_two_names_of_a_file_the_one_with_a_manner_comes_first(shop: OllamaFolder) -> None:
    shop.model(f"{OWN}/a/latest", model=b"weights")
    shop.model(f"{OWN}/b/latest", model=b"weights", system="Be brief.")
    assert [found.title for found in shop.found()] == ["b", "a"]


# How an app runs a model


@pytest.mark.parametrize(
    ("facts", "sampling", "stops"),
    [
        ({"t": 0.5, "k": 3, "stop": "x"}, {"temperature": 0.5, "top_k": 3}, ("x",)),
        ({"t": True, "k": 3.5}, {}, ()),
        ({"t": 1e9, "k": -1}, {}, ()),
        ({"t": float("nan"), "k": None}, {}, ()),
        ({"stop": ["a", "", 5, "a", "b" * 999]}, {}, ("a",)),
        ({"stop": {"a": 1}}, {}, ()),
        ({"stop": ["\ud800", "a"]}, {}, ("a",)),
    ],
)
def test_only_what_makes_sense_here_is_taken_over(
    facts: dict[str, Any], sampling: dict[str, float], stops: tuple[str, ...]
) -> None:
    manner = manner_of("App", facts, {"t": "temperature", "k": "top_k"})
    assert (manner.sampling, manner.stops) == (sampling, stops)


def test_a_system_prompt_as_long_as_a_book_is_not_taken_over() -> None:
    manner = manner_of("App", {}, {}, "a" * 100_000)
    assert (manner.system, manner.notes) == ("", ("App's system prompt is too long and was not taken over",))


# The Hub's cache


def cached(cache: Path, repo: str, name: str, data: bytes) -> Path:
    """A file in the Hub's cache as its client puts it there."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    digest = hashlib.sha256(data).hexdigest()
    put(folder / "blobs" / digest, data)
    path = folder / "snapshots" / ("c" * 40) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(folder / "blobs" / digest, path.parent))
    return path


def test_a_model_file_of_the_hub_is_known_by_its_blob(tmp_path: Path) -> None:
    cached(tmp_path, "owner/Zephyr-GGUF", "sub/zephyr-7b.Q4_K_M.gguf", b"weights")
    cached(tmp_path, "owner/Zephyr-GGUF", "README.md", b"words")
    cached(tmp_path, "owner/other", "model.safetensors", b"checkpoint")
    found = one(hub_cache.models_in(tmp_path))
    assert (found.title, found.suggestion) == ("owner/Zephyr-GGUF/sub/zephyr-7b.Q4_K_M.gguf", "zephyr-7b")
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_a_link_out_of_the_cache_is_not_followed(tmp_path: Path) -> None:
    secret = put(tmp_path / "secret", b"weights")
    (folder := tmp_path / "hub/models--a--b/snapshots/c").mkdir(parents=True)
    (folder / "m.gguf").symlink_to(secret)
    assert one(hub_cache.models_in(tmp_path / "hub")).trouble == "it is a link that leads out of the cache"


# Jan


def test_jan_says_in_yaml_where_its_models_are(tmp_path: Path) -> None:
    put(tmp_path / "llamacpp/models/janhq/smol/model.gguf", b"weights")
    put(
        tmp_path / "llamacpp/models/janhq/smol/model.yml",
        f"model_path: llamacpp/models/janhq/smol/model.gguf\nname: 'smol'  # ours\nmodel_sha256: {HASH}\n"
        'temperature: 0.5\nnested:\n  temperature: 9\nstop:\n  - <|end|>\n  - "</s>"\nngl: 33\n',
    )
    put(tmp_path / "models/by-hand/own.gguf", b"weights")
    first, second = jan.models_in(tmp_path)
    assert (first.title, first.suggestion, first.sha256) == ("janhq/smol", "smol", HASH)
    assert (first.stops, first.sampling) == (("<|end|>", "</s>"), {"temperature": 0.5})
    assert second.title == "by-hand/own.gguf"


@pytest.mark.parametrize(
    "line",
    [
        "", "model_path: 5", "model_path: ../../secret.gguf", "model_path: /etc/passwd", "model_path: a\\b.gguf",
        "model_path: C:/a.gguf", "model_path: nul.gguf", "files:\n- 7", "model_path:\n- a.gguf", "model_path: \0.gguf",
    ],
)  # fmt: skip
def test_jan_names_no_file_outside_its_folder(tmp_path: Path, line: str) -> None:
    put(tmp_path / "models/odd/model.yml", line)
    assert one(jan.models_in(tmp_path)).trouble


def test_a_file_that_was_imported_into_jan_stays_where_it_is(tmp_path: Path) -> None:
    path = put(tmp_path / "mine.gguf")
    put(tmp_path / "jan/models/mine/model.yml", f"files:\n- {path}\n")
    assert one(jan.models_in(tmp_path / "jan")).path == path


@given(st.text(max_size=200))
def test_any_text_is_read_as_a_model_yml(text: str) -> None:
    assert set(jan.facts_of(text)) <= {*jan.KEYS, *jan.SAMPLING}


def test_links_in_circles_are_listed_and_end_nothing(tmp_path: Path) -> None:
    for folder in ("hub/models--a--b/snapshots/c", "jan/models/m"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "m.gguf").symlink_to("m.gguf")
    found = [*hub_cache.models_in(tmp_path / "hub"), *jan.models_in(tmp_path / "jan")]
    assert len(found) == 2
    assert all(look(candidate, {}).trouble for candidate in found)


# llama.cpp


@pytest.mark.parametrize(
    ("name", "repos", "file"),
    [
        ("own_er_re_po_file.gguf", ["own_er_re_po_"], "file.gguf"),
        ("ggml-org_gemma-3-4b-it-GGUF_gemma-3-4b-it-Q4_K_M.gguf", [], "gemma-3-4b-it-Q4_K_M.gguf"),
        ("file.gguf", [], "file.gguf"),
        ("a_b_.gguf", ["a_b_"], "a_b_.gguf"),
    ],
)
def test_the_name_in_the_repository_is_told_from_the_caches(name: str, repos: list[str], file: str) -> None:
    assert llama_cpp.file_name(name, repos) == file


def test_manifests_of_llama_cpp_say_what_the_repository_is(tmp_path: Path) -> None:
    put(tmp_path / "a_b_c_d-Q8_0.gguf")
    put(tmp_path / "manifest=a_b=c=latest.json")
    assert one(llama_cpp.models_in(tmp_path)).suggestion == "d"


# Folders that are huge, or lead in circles


def test_links_in_circles_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "a/model.gguf")
    (tmp_path / "a/again").symlink_to(tmp_path)
    (tmp_path / "a/self.gguf").symlink_to("self.gguf")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [path.name for path in files_below(tmp_path)] == ["model.gguf", "self.gguf"]


def test_a_huge_folder_is_not_read_to_its_end(tmp_path: Path) -> None:
    for number_ in range(6):
        put(tmp_path / f"{number_}.txt")
    assert len(list(files_below(tmp_path, entries=6))) == 6
    with pytest.raises(BadFile, match="more than 5 files"):
        list(files_below(tmp_path, entries=5))


def test_folders_in_folders_end_somewhere(tmp_path: Path) -> None:
    put(tmp_path.joinpath(*["d"] * DEPTH_LIMIT) / "in.gguf")
    put(tmp_path.joinpath(*["d"] * (DEPTH_LIMIT + 1)) / "out.gguf")
    assert [path.name for path in files_below(tmp_path)] == ["in.gguf"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert list(model_files("app", tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("o/r/Mistral-7B-Instruct-v0.3-Q4_K_M.gguf", "Mistral-7B-Instruct-v0.3"),
        ("o/r/zephyr-7b-beta.Q8_0.gguf", "zephyr-7b-beta"),
        ("o/r/m-UD-IQ2_XXS.gguf", "m"),
        ("o/r/m.F16.GGUF", "m"),
        ("o/Zephyr-GGUF/model.gguf", "Zephyr"),
        ("o/Zephyr/ggml-model-q4_0.gguf", "Zephyr"),
        ("o/r/v0.1.gguf", "v0.1"),
    ],
)
def test_a_name_is_what_is_left_without_the_type(path: str, name: str) -> None:
    assert suggested(Path(path)) == name


# What a file is


@pytest.mark.parametrize(
    ("pairs", "entries", "kind", "trouble"),
    [
        (SHAPE, ENTRIES, "model", ""),
        (PAIRS, ENTRIES, "damaged", "does not say its attention"),
        ((*SHAPE, pair("general.type", STRING, text("adapter"))), ENTRIES, "adapter", "none itself"),
        ((*SHAPE, pair("general.type", STRING, text("mmproj"))), ENTRIES, "projector", "images"),
        ((pair("general.architecture", STRING, text("clip")),), ENTRIES, "projector", "images"),
        ((pair("general.architecture", STRING, text("nomic-bert")),), ENTRIES, "embedding model", "writes none"),
        ((*SHAPE, pair("llama.pooling_type", UINT32, number(1))), ENTRIES, "embedding model", "writes none"),
        ((*SHAPE, pair("llama.pooling_type", UINT32, number(0))), ENTRIES, "model", ""),
        ((*SHAPE, pair("split.no", INT32, number(1)), pair("split.count", INT32, number(3))), ENTRIES, "part", "later"),
        ((*SHAPE, pair("split.no", INT32, number(0)), pair("split.count", INT32, number(3))), (), "model", "3 files"),
        (SHAPE, (), "vocabulary", "no weights"),
        ((pair("general.architecture", STRING, text("gpt-9")),), ENTRIES, "model", "no architecture called gpt-9"),
        ((pair("general.architecture", UINT32, number(7)),), ENTRIES, "model", "no architecture"),
    ],
)
def test_what_is_no_model_is_told_from_what_is(
    tmp_path: Path, pairs: tuple[bytes, ...], entries: tuple[bytes, ...], kind: str, trouble: str
) -> None:
    found = looked(put(tmp_path / "m.gguf", gguf(pairs, entries)))
    assert (found.kind, bool(found.trouble)) == (kind, bool(trouble))
    assert trouble in found.trouble


def test_a_sound_file_is_described(tmp_path: Path) -> None:
    path = put(tmp_path / "m.gguf", gguf((*SHAPE, TEMPLATE)))
    found = looked(path)
    assert (found.quant, found.architecture, found.template_source) == ("Q8_0", "llama", "model file")
    assert (found.bytes, found.disk_bytes % 512, found.notes) == (path.stat().st_size, 0, ())
    assert looked(put(tmp_path / "n.gguf", gguf(SHAPE))).notes == ("the file has no chat template",)


def test_a_sparse_file_takes_what_its_blocks_take(tmp_path: Path) -> None:
    path = put(tmp_path / "m.gguf", gguf(SHAPE))
    os.truncate(path, 64 << 20)
    found = looked(path)
    assert found.bytes == 64 << 20
    assert found.disk_bytes == path.stat().st_blocks * 512


@pytest.mark.parametrize("data", [b"", b"GGUF", gguf(SHAPE)[:-80], gguf(magic=b"FUGG"), gguf(pair_count=-1)])
def test_damaged_files_say_why(tmp_path: Path, data: bytes) -> None:
    found = looked(put(tmp_path / "m.gguf", data))
    assert found.kind == "damaged"
    assert "is not a sound GGUF file" in found.trouble


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.gguf")
    (tmp_path / "gone.gguf").symlink_to("nothing")
    (tmp_path / "self.gguf").symlink_to("self.gguf")
    troubles = [looked(path).trouble for path in sorted(tmp_path.iterdir())]
    assert troubles[:2] == ["it is no ordinary file", "its file is gone"]
    assert troubles[2].startswith("its file cannot be looked at")


def test_a_path_that_is_no_unicode_is_not_adopted(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
    assert "not Unicode" in looked(put(path, gguf(SHAPE))).trouble


def test_an_array_where_a_number_should_be_is_no_crash(tmp_path: Path) -> None:
    odd = (*SHAPE, pair("split.count", 9, array(UINT32, 1, number(3))), pair("general.type", 9, array(UINT32, 0, b"")))
    assert looked(put(tmp_path / "m.gguf", gguf(odd))).kind == "model"
