"""The catalog as it looks from this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import GIB, hardware

from localchat.catalog import entries, lookup
from localchat.convert.config import parse_config
from localchat.errors import LocalchatError
from localchat.gguf_file import read_header
from localchat.plan.make import Machine, make_plans
from localchat.plan.plan import Plan
from localchat.plan.wish import Wish
from localchat.plan.works import Subject
from localchat.printing import offer_facts, print_offers
from localchat.pull import offers as offering
from localchat.pull.decide import plan_for
from localchat.pull.install import pull
from localchat.pull.offers import Offer, offers
from localchat.pull.source import parse
from localchat.tui.suggestions import three

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


def test_models_of_one_shape_are_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Subject] = []

    def counted(subjects: list[Subject], machine: Machine, wish: Wish) -> list[Plan | LocalchatError]:
        planned.extend(subjects)
        return make_plans(subjects, machine, wish)

    monkeypatch.setattr(offering, "make_plans", counted)
    found = {offer.entry.name: offer.plan for offer in offers(LARGE)}
    assert len(planned) < len(found) / 2
    assert found["zephyr-7b-beta"] is found["mistral-7b-instruct-v0.2"]
    by_itself = plan_for(parse_config(entries()[-1].config), LARGE, Wish())
    assert found[entries()[-1].name] == by_itself


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
    assert "installed" in named("smollm2").marks
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


@pytest.mark.parametrize("columns", [80, 120])
def test_the_catalog_is_a_table_in_which_nothing_that_counts_is_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    found = offers(LARGE)
    print_offers(found)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found) + 1
    assert max(map(len, lines)) <= columns
    for offer, line in zip(found, lines[1:], strict=True):
        assert line.startswith(offer.entry.name)
        assert " ".join(offer.marks) in line
        assert offer.entry.licence[:10] in line or "microsoft-re" in line
        assert offer.plan is None or offer.plan.quant in line


def test_the_base_model_is_marked() -> None:
    assert [offer.entry.name for offer in offers(LARGE) if "base" in offer.marks] == ["mistral-7b-v0.1"]


def test_nobody_is_first_shown_a_model_for_research_or_one_that_cannot_answer() -> None:
    found = {suggestion.offer.entry.name for suggestion in three(offers(Machine(hardware(64 * GIB, 60 * GIB))))}
    assert len(found) == 3
    assert not found & {entry.name for entry in entries() if entry.gated or not entry.is_open or not entry.chats}
    closed = [entry.name for entry in entries() if not entry.is_open]
    assert closed == ["guanaco1k-ep2-mistral-7b", "openorca-1k-mistral-7b", "orca-2-13b"]
