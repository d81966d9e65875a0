"""The catalog as it looks from this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import GIB, hardware

from localchat.catalog import entries, lookup
from localchat.gguf_file import read_header
from localchat.plan.make import Machine
from localchat.plan.wish import Wish
from localchat.printing import notes, offer_facts
from localchat.pull import offers as offering
from localchat.pull.install import pull
from localchat.pull.offers import Offer, offers
from localchat.pull.source import parse

LARGE, SMALL = Machine(hardware()), Machine(hardware(4 * GIB, 3 * GIB))


def named(name: str, machine: Machine = LARGE) -> Offer:
    return next(offer for offer in offers(machine) if offer.entry.name == name)


def test_the_whole_catalog_is_offered_what_needs_no_download_first() -> None:
    found = offers(LARGE)
    assert sorted(offer.entry.name for offer in found) == [entry.name for entry in entries()]
    assert found[0].entry.name == "smollm2"
    assert [offer.entry.name for offer in found[1:]] == sorted(offer.entry.name for offer in found[1:])


def test_a_large_machine_runs_everything_well(smollm2_file: Path) -> None:
    quants = {offer.entry.name: offer.plan.quant for offer in offers(LARGE) if offer.plan}
    assert quants.pop("smollm2") == read_header(smollm2_file).quant  # that file is there and stays as it is
    assert set(quants.values()) == {"Q8_0"}
    assert len(quants) == len(entries()) - 1


def test_a_small_machine_is_told_why_a_model_does_not_fit() -> None:
    found = offers(SMALL)
    misfits = [offer for offer in found if offer.plan is None]
    assert {offer.entry.name for offer in misfits} == {entry.name for entry in entries()} - {"smollm2"}
    assert all("needs at least" in offer.problem for offer in misfits)
    assert found[0].plan is not None


def test_offers_are_for_this_machine_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [LARGE, SMALL]
    monkeypatch.setattr(offering, "this_machine", lambda _folder: found.pop(0))
    assert offers()[-1].plan is not None
    assert offers()[-1].plan is None


def test_what_is_installed_is_marked() -> None:
    assert not named("smollm2").is_installed
    for _ in pull(parse("smollm2"), Wish()):
        pass
    assert named("smollm2").is_installed
    assert "installed" in notes(named("smollm2"))
    assert [offer.entry.name for offer in offers(LARGE) if offer.is_installed] == ["smollm2"]


def test_only_what_a_package_carries_is_there_without_a_download() -> None:
    assert [offer.entry.name for offer in offers(LARGE) if offer.is_local] == ["smollm2"]


FIELDS = {
    "name", "repo", "former_repos", "licence", "gated", "uncensored", "format", "context", "stops", "sampling",
    "scores", "unsure", "plan",
}  # fmt: skip


def test_the_facts_of_an_offer_are_those_of_the_contract() -> None:
    for offer in offers(LARGE):
        facts = offer_facts(offer)
        assert facts.keys() >= FIELDS
        assert facts["context"] == offer.entry.context > 0
        assert facts["plan"]["download_bytes"] == offer.entry.download_bytes


def test_an_offer_without_a_plan_says_so() -> None:
    entry = lookup("zephyr-7b-beta")
    assert entry is not None
    assert offer_facts(named(entry.name, SMALL))["plan"] is None
