"""Which files of a folder or repository are taken for its weights, where several could be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.convert.weight_set import INDEXES, WeightSet, choose

SAFETENSORS_INDEX, TORCH_INDEX, CONSOLIDATED_INDEX = INDEXES


def parts(count: int, of: int | None = None, kind: str = "model-{}.safetensors") -> list[str]:
    """The names of an upload in `of` parts, of which the first `count` are there."""
    return [kind.format(f"{number:05}-of-{of or count:05}") for number in range(1, count + 1)]


def with_index(folder: Path, names: Iterable[str], weight_map: Any, index: str = SAFETENSORS_INDEX) -> WeightSet:
    """What is chosen of these names where there is an index with this weight map as well."""
    (folder / index).write_text(json.dumps({"weight_map": weight_map}))
    return choose([*names, index], folder)


TORCH = "pytorch_model-{}.bin"
EIGHT = [f"consolidated.0{number}.pt" for number in range(8)]
TAKEN: dict[str, tuple[list[str], list[str]]] = {
    "one file": (["model.safetensors"], ["model.safetensors"]),
    "two parts": (parts(2), parts(2)),
    "one part of one": (parts(1), parts(1)),
    "an underscore before the number": (parts(2, kind="model_{}.safetensors"), parts(2, kind="model_{}.safetensors")),
    "a pickle alone": (["pytorch_model.bin"], ["pytorch_model.bin"]),
    "pickles in parts": (parts(2, kind=TORCH), parts(2, kind=TORCH)),
    "safetensors and pickles": ([*parts(2), *parts(3, kind=TORCH)], parts(2)),
    "three sets": (["pytorch_model.bin", "model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
    "pickles and Meta's own": (["pytorch_model.bin", "consolidated.00.pth"], ["pytorch_model.bin"]),
    "Mistral's own": (["consolidated.safetensors"], ["consolidated.safetensors"]),
    "Meta's own in slices": (
        ["consolidated.01.pth", "consolidated.00.pth"],
        ["consolidated.00.pth", "consolidated.01.pth"],
    ),
    "Mistral's own in eight slices": (EIGHT, EIGHT),
    "Mistral's own in parts": (
        parts(2, kind="consolidated-{}.safetensors"),
        parts(2, kind="consolidated-{}.safetensors"),
    ),
    "Mistral's own whole beside slices": (
        ["consolidated.safetensors", "consolidated.00.pth", "consolidated.01.pth"],
        ["consolidated.safetensors"],
    ),
    "two whole uploads, the larger": ([*parts(2), *parts(8)], parts(8)),
    "a whole upload beside the rest of a larger one": ([*parts(2), *parts(5, of=8)], parts(2)),
    "a whole upload beside as many parts of another": ([*parts(2, of=3), *parts(2)], parts(2)),
    "one file beside the rest of parts": (["model.safetensors", *parts(1, of=2)], ["model.safetensors"]),
    "parts beside one file": (["model.safetensors", *parts(2)], parts(2)),
    "leftovers of training": (
        ["model.safetensors", "optimizer.pt", "latest", "training_args.bin", "scheduler.pt", "rng_state.pth"],
        ["model.safetensors"],
    ),
    "an adapter beside a model": (["adapter_model.safetensors", "model.safetensors"], ["model.safetensors"]),
    "sets in folders": (["original/consolidated.00.pth", "onnx/model.safetensors", *parts(2)], parts(2)),
    "copies and backups": (
        ["model.safetensors.bak", "model (1).safetensors", "old-model.safetensors", "model.safetensors"],
        ["model.safetensors"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "taken"), TAKEN.values(), ids=TAKEN.keys())
def test_one_set_is_taken(names: list[str], taken: list[str]) -> None:
    assert choose(names, None).files == tuple(taken)
    assert choose(reversed(names), None).files == tuple(taken)


@pytest.mark.parametrize(
    "names",
    [
        [], ["config.json"], ["model.gguf"], ["model.safetensors.index.json"], ["adapter_model.safetensors"],
        ["model-1-of-2.safetensors"], ["MODEL.SAFETENSORS"], ["model.safetensors\n"], ["flax_model.msgpack"],
        ["tf_model.h5"], ["original/consolidated.00.pth"], ["rust_model.ot"],
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_without_weights_says_so(names: list[str]) -> None:
    with refused("there are no weights here"):
        choose(names, None)


@pytest.mark.parametrize("kind", ["model-{}.safetensors", "model_{}.safetensors", TORCH, "consolidated-{}.safetensors"])
def test_a_part_that_is_missing_is_named(kind: str) -> None:
    names = parts(3, kind=kind)
    for number, name in enumerate(names):
        with refused(f"{name}, a part of the weights, is missing"):
            choose(names[:number] + names[number + 1 :], None)


def test_a_claim_of_very_many_parts_is_refused() -> None:
    with refused("model-00002-of-99999.safetensors", "missing"):
        choose(["model-00001-of-99999.safetensors"], None)


def test_the_index_decides_between_two_uploads(tmp_path: Path) -> None:
    assert with_index(tmp_path, [*parts(2), *parts(8)], {"a": parts(2)[0]}).files == tuple(parts(2))
    assert with_index(tmp_path, [*parts(8), "model.safetensors"], {"a": "model.safetensors"}).files == (
        "model.safetensors",
    )


def test_an_upload_of_the_index_that_lacks_a_part_is_not_mixed_with_another(tmp_path: Path) -> None:
    with refused(parts(8)[7], "missing"):
        with_index(tmp_path, [*parts(2), *parts(7, of=8)], dict(zip("abcdefgh", parts(8), strict=True)))


def test_files_of_odd_names_are_taken_where_the_index_names_them(tmp_path: Path) -> None:
    chosen = with_index(tmp_path, ["model.safetensors", "head.safetensors"], {"lm_head.weight": "head.safetensors"})
    assert chosen.files == ("head.safetensors", "model.safetensors")


def test_an_index_of_another_upload_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    chosen = with_index(tmp_path, parts(2), dict(zip("abc", parts(3), strict=True)))
    assert chosen.files == tuple(parts(2))


def test_an_index_of_pickles_says_nothing_of_safetensors(tmp_path: Path) -> None:
    (tmp_path / TORCH_INDEX).write_text("not even JSON")
    chosen = choose([*parts(2), "pytorch_model.bin", TORCH_INDEX], tmp_path)
    assert (chosen.files, chosen.index) == (tuple(parts(2)), {})


def test_each_kind_of_weights_has_its_own_index(tmp_path: Path) -> None:
    torch = with_index(tmp_path, parts(2, kind=TORCH), {"a": parts(2, kind=TORCH)[0]}, TORCH_INDEX)
    assert (torch.kind, torch.index) == ("torch", {"a": "pytorch_model-00001-of-00002.bin"})
    names = parts(2, kind="consolidated-{}.safetensors")
    assert with_index(tmp_path, names, {"a": names[1]}, CONSOLIDATED_INDEX).index == {"a": names[1]}


OUTSIDE: dict[str, Any] = {
    "above": "../model.safetensors",
    "absolute": "/etc/passwd.safetensors",
    "in a folder": "sub/model.safetensors",
    "Windows": "C:\\model.safetensors",
    "an alternate stream": "model.safetensors:x.safetensors",
    "another kind": "pytorch_model.bin",
    "a device": "nul.safetensors",
    "an escape": "\x1b[31m.safetensors",
    "nothing": "",
    "a dot": ".",
    "a NUL": "a\0.safetensors",
    "half a surrogate pair": "\ud800.safetensors",
    "a number": 7,
    "null": None,
    "a list": ["model.safetensors"],
    "an object": {"file": "model.safetensors"},
}


@pytest.mark.parametrize("value", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_an_index_that_names_anything_but_a_file_beside_it_is_refused(value: Any, tmp_path: Path) -> None:
    with refused(SAFETENSORS_INDEX):
        with_index(tmp_path, ["model.safetensors"], {"good": "model.safetensors", "bad": value})


@pytest.mark.parametrize("weight_map", [[], "model.safetensors", 1, None, [["a", "model.safetensors"]]], ids=repr)
def test_an_index_without_a_map_is_refused(weight_map: Any, tmp_path: Path) -> None:
    with refused(SAFETENSORS_INDEX, "weight_map"):
        with_index(tmp_path, ["model.safetensors"], weight_map)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"weight_map": {"a": "b", "a": "c"}}', b"[" * 99_999])
def test_an_index_that_is_no_sound_json_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / SAFETENSORS_INDEX).write_bytes(data)
    with refused(SAFETENSORS_INDEX):
        choose(["model.safetensors", SAFETENSORS_INDEX], tmp_path)


def test_an_index_of_more_values_than_any_checkpoint_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / SAFETENSORS_INDEX).write_bytes(b'{"weight_map": [' + b"[]," * 1_100_000 + b"0]}")
    with refused(SAFETENSORS_INDEX, "more values"):
        choose(["model.safetensors", SAFETENSORS_INDEX], tmp_path)


NAMES = st.sampled_from([
    *parts(2), *parts(3), *parts(2, kind=TORCH), "model.safetensors", "pytorch_model.bin", "consolidated.00.pth",
    "consolidated.01.pth", "consolidated.safetensors", "head.safetensors", "../x.safetensors",
])  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, unique=True), st.dictionaries(st.text(max_size=3), NAMES | JSON, max_size=4) | JSON)
def test_any_names_and_any_index_give_files_that_are_there_or_a_sentence(
    tmp_path: Path, names: list[str], weight_map: Any
) -> None:
    with sound_or_refused():
        chosen = with_index(tmp_path, names, weight_map)
        assert chosen.files
        assert set(chosen.files) <= set(names)
        assert ".." not in "".join(chosen.files)
