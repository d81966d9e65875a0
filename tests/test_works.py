"""Dry runs: asked once for all that matters, kept, and asked again where what was kept cannot be trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planning import MISTRAL, MIXTRAL
from tiny import CONFIG, refused

from localchat.convert.config import parse_config
from localchat.errors import LocalchatError
from localchat.llama.dry_run import Case, Work
from localchat.plan import works as module
from localchat.plan.layout import BATCH, WorkKey
from localchat.plan.rungs import work_keys
from localchat.plan.wish import Wish
from localchat.plan.works import Devices, Subject, find_works
from localchat.pull.decide import subject_for

HOST_KEY: WorkKey = ("Q8_0", "host", 4096, "f16")
NOTHING, ONE, TWO = Devices(()), Devices(("CUDA0",)), Devices(("CUDA0", "CUDA1"))
WORK = Work({"CUDA0": 5, "CUDA1": 7}, 3, True)


class Asked:
    """Stands in for llama.cpp; remembers the rounds of cases that it was asked."""

    def __init__(self) -> None:
        self.rounds: list[list[Case]] = []

    def __call__(self, cases: Sequence[Case]) -> list[Work]:
        self.rounds.append(list(cases))
        return [WORK] * len(cases)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has asked nothing yet."""
    monkeypatch.setattr(module, "_known", {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(module, "dry_run", asked)
    return asked


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had ended and another begun."""
    monkeypatch.setattr(module, "_known", {})


def headers(subject: Subject, opened: list[str]) -> Subject:
    """The model with headers that are never made; `opened` hears which were asked for, and that they were given up."""

    @contextmanager
    def header_of(quant: str) -> Iterator[Path]:
        opened.append(quant)
        yield Path(f"{subject.shape.identity}-{quant}.gguf")
        opened.append(f"{quant} is gone")

    return replace(subject, header_of=header_of)


OPENED: list[str] = []
MODEL = headers(MISTRAL, OPENED)


def test_what_was_asked_once_is_not_asked_again(asked: Asked, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    keys = work_keys(MODEL.shape, MODEL.candidates, 1, Wish())
    first = find_works([MODEL], [keys], ONE)
    assert len(asked.rounds) == 1
    assert len(asked.rounds[0]) == len(keys) == 8 * 3 * 2 * 2
    assert set(first[0]) == set(keys)
    assert find_works([MODEL], [keys], ONE) == first
    forget(monkeypatch)
    assert find_works([MODEL], [keys], ONE) == first, "another process reads what this one wrote"
    assert len(asked.rounds) == 1
    assert (home / "measured" / "work.json").stat().st_mode & 0o77 == 0


DIFFERENT: dict[str, tuple[Subject, WorkKey, Devices]] = {
    "another type": (MODEL, ("Q6_K", "host", 4096, "f16"), NOTHING),
    "another context": (MODEL, ("Q8_0", "host", 8192, "f16"), NOTHING),
    "another KV type": (MODEL, ("Q8_0", "host", 4096, "q8_0"), NOTHING),
    "another spread": (MODEL, ("Q8_0", "one", 4096, "f16"), ONE),
    "another model": (headers(MIXTRAL, []), HOST_KEY, NOTHING),
    **{
        f"another {field}": (replace(MODEL, shape=replace(MODEL.shape, **{field: value})), HOST_KEY, NOTHING)
        for field, value in {"vocabulary": 32064, "heads": 16, "layers": 31, "hidden": 5120, "head_dim": 64,
                             "feed_forward": 1, "kv_heads": 4, "architecture": "mistral3", "experts": 2}.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_makes_a_difference_is_asked_anew(asked: Asked, name: str) -> None:
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    what, key, devices = DIFFERENT[name]
    find_works([what], [[key]], devices)
    assert len(asked.rounds) == 2


def test_another_version_of_llama_cpp_is_asked_anew(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    monkeypatch.setattr(module, "version", lambda _name: "0.9.9")
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    assert len(asked.rounds) == 2


def test_other_devices_are_asked_anew_but_the_main_memory_is_the_same(asked: Asked) -> None:
    on_one: WorkKey = ("Q8_0", "one", 4096, "f16")
    for devices in (ONE, TWO, Devices(("Vulkan0",))):
        find_works([MODEL], [[HOST_KEY, on_one]], devices)
    assert [len(cases) for cases in asked.rounds] == [2, 1, 1]


def test_what_makes_no_difference_is_not_asked(asked: Asked) -> None:
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    longer = replace(MODEL, shape=replace(MODEL.shape, context=1 << 20, parameters=1))
    find_works([longer], [[HOST_KEY]], ONE)
    assert len(asked.rounds) == 1


def test_several_models_are_asked_in_one_round_and_each_header_is_made_once(asked: Asked) -> None:
    OPENED.clear()
    keys = work_keys(MODEL.shape, MODEL.candidates, 0, Wish())
    other = headers(MIXTRAL, OPENED)
    found = find_works([MODEL, other], [keys, keys[:4]], NOTHING)
    assert [len(works) for works in found] == [len(keys), 4]
    assert len(asked.rounds) == 1
    assert sum("gone" not in name for name in OPENED) == 8 + 1
    assert sum("gone" in name for name in OPENED) == 8 + 1


def test_the_cases_are_those_of_the_keys(asked: Asked) -> None:
    spreads = ("host", "one", "all", "split", "experts")
    keys: list[WorkKey] = [("Q4_K_M", spread, 4096, "q8_0") for spread in spreads]
    find_works([headers(MIXTRAL, [])], [keys], Devices(("CUDA0", "CUDA1"), rpc=("host:1",)))
    found = [case.placement for case in asked.rounds[0]]
    layers = [[(share.device, share.layers) for share in one.shares] for one in found]
    both = [("CUDA0", 16), ("CUDA1", 17)]
    assert layers == [[], [("CUDA0", 33)], both, [("CUDA0", 8), ("CUDA1", 8)], both]
    assert [one.experts_on_host > 0 for one in found] == [False] * 4 + [True]
    assert {(one.context, one.kv_type, one.batch, one.rpc) for one in found} == {(4096, "q8_0", BATCH, ("host:1",))}


def test_for_another_machine_the_main_memory_stands_in_for_each_device(asked: Asked) -> None:
    spreads = ("host", "one", "all", "split")
    keys: list[WorkKey] = [("Q8_0", spread, 4096, "f16") for spread in spreads]
    found = find_works([MODEL], [keys], replace(TWO, are_here=False))[0]
    assert [len(cases) for cases in asked.rounds] == [1]
    assert asked.rounds[0][0].placement.shares == ()
    assert found[keys[0]] == WORK
    assert found[keys[1]] == found[keys[3]] == Work({"CUDA0": 3, "CUDA1": 3}, 3, True)
    assert found[keys[2]] == Work({"CUDA0": 6, "CUDA1": 6}, 3, True), "batches that overlap are kept twice"
    find_works([MODEL], [keys], replace(ONE, are_here=False))
    assert len(asked.rounds) == 1, "nor is another machine with other devices a reason to ask again"


GOOD = '{"host_bytes": 1, "devices_bytes": {}, "copies_weights": false}'
DAMAGED = {
    "is empty": "",
    "is no JSON": "{",
    "is a list": "[]",
    "is a number": "5",
    "has a list in it": '{"NAME": []}',
    "has null in it": '{"NAME": null}',
    "has a text for a number": '{"NAME": {"host_bytes": "1", "devices_bytes": {}, "copies_weights": false}}',
    "has a number below 0": '{"NAME": {"host_bytes": -1, "devices_bytes": {}, "copies_weights": false}}',
    "has no devices": '{"NAME": {"host_bytes": 1, "devices_bytes": null, "copies_weights": false}}',
    "has a list of devices": '{"NAME": {"host_bytes": 1, "devices_bytes": [1], "copies_weights": false}}',
    "has a device of text": '{"NAME": {"host_bytes": 1, "devices_bytes": {"CUDA0": "1"}, "copies_weights": false}}',
    "has true for a number": '{"NAME": {"host_bytes": true, "devices_bytes": {}, "copies_weights": false}}',
    "has a number for true": '{"NAME": {"host_bytes": 1, "devices_bytes": {}, "copies_weights": 1}}',
    "has more fields": '{"NAME": {"host_bytes": 1, "devices_bytes": {}, "copies_weights": false, "more": 1}}',
    "has fewer fields": '{"NAME": {"host_bytes": 1}}',
    "is no text": "\udcff",
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_asked_again_and_mended(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, home: Path, content: str
) -> None:
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    file = home / "measured" / "work.json"
    (name,) = json.loads(file.read_text())
    for text in (content.replace("NAME", name), content.replace('{"NAME"', f'{{"other": {GOOD}, "NAME"')):
        file.write_bytes(text.replace("NAME", name).encode("utf-8", "surrogateescape"))
        forget(monkeypatch)
        assert find_works([MODEL], [[HOST_KEY]], NOTHING) == [{HOST_KEY: WORK}]
        assert json.loads(file.read_text())[name]["host_bytes"] == WORK.host_bytes
    assert len(asked.rounds) == 3


def test_where_nothing_can_be_written_it_is_asked_all_the_same(
    asked: Asked, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "measured").mkdir(parents=True)
    (home / "measured" / "work.json").mkdir()
    for _ in range(2):
        assert find_works([MODEL], [[HOST_KEY]], NOTHING) == [{HOST_KEY: WORK}]
    forget(monkeypatch)
    find_works([MODEL], [[HOST_KEY]], NOTHING)
    assert len(asked.rounds) == 2


def test_the_file_does_not_grow_without_end(asked: Asked, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 10)
    for context in range(256, 256 * 30, 256):
        find_works([MODEL], [[("Q8_0", "host", context, "f16")]], NOTHING)
    kept = json.loads((home / "measured" / "work.json").read_text())
    assert len(kept) == 10
    assert any(f"|{256 * 29}|" in name for name in kept), "the newest are kept"
    assert len(asked.rounds) == 29


def test_a_model_that_llama_cpp_refuses_is_said_in_one_sentence(tmp_path: Path) -> None:
    """The real llama.cpp, over a file that is no model; nothing is kept of it."""
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))

    @contextmanager
    def header_of(_quant: str) -> Iterator[Path]:
        yield tmp_path / "bad.gguf"

    bad = replace(MISTRAL, header_of=header_of)
    with refused("llama.cpp cannot lay out a model of this shape"):
        find_works([bad], [[HOST_KEY]], NOTHING)
    assert module._known == {}


def test_a_header_that_cannot_be_made_is_said_too(asked: Asked) -> None:
    def header_of(_quant: str) -> Any:
        raise LocalchatError("no room for a header", "make some")

    with refused("no room for a header"):
        find_works([replace(MISTRAL, header_of=header_of)], [[HOST_KEY]], NOTHING)
    assert asked.rounds == []


def test_real_dry_runs_of_two_models_in_one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    # The last layer computes one token alone.
    tiny = parse_config({**CONFIG, "num_hidden_layers": 2})
    wide = parse_config({**CONFIG, "num_hidden_layers": 2, "intermediate_size": 4096})
    subjects = [subject_for(config, ["Q8_0", "F16"]) for config in (tiny, wide)]
    rounds: list[int] = []
    real = module.dry_run

    def counted(cases: Sequence[Case]) -> list[Work]:
        rounds.append(len(cases))
        return real(cases)

    monkeypatch.setattr(module, "dry_run", counted)
    keys: list[WorkKey] = [("F16", "host", context, "f16") for context in (256, 512)]
    small, large = find_works(subjects, [keys, keys], NOTHING)
    assert rounds == [4]
    assert small[keys[0]].host_bytes < large[keys[0]].host_bytes
    assert small[keys[0]].devices_bytes == {}
