"""A plan with all that it needs: dry runs, what earlier loads taught, and reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from localchat.errors import LocalchatError
from localchat.llama.rates import Rates
from localchat.plan.hardware import Hardware
from localchat.plan.layout import WorkKey, Works
from localchat.plan.lessons import NONE, Lessons
from localchat.plan.plan import Plan, is_wanted, plan
from localchat.plan.reasons import reasons
from localchat.plan.refusal import check_wish
from localchat.plan.rooms import rooms
from localchat.plan.rungs import GOOD, LOW, work_keys
from localchat.plan.shape import Candidate
from localchat.plan.truth import lessons, loads
from localchat.plan.wish import Wish
from localchat.plan.works import Devices, Subject, find_works


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware to plan for."""

    hardware: Hardware
    is_here: bool = True
    """Else it was read from a file, and nothing is known of it but that."""
    rpc: tuple[str, ...] = ()
    """HOST:PORT of other machines whose devices are among its own."""
    rates: Mapping[str, Rates] = field(default_factory=dict)
    """Of its memories, where they were measured; else the single numbers of the hardware are taken."""


def make_plan(subject: Subject, machine: Machine, wish: Wish, model: str = "") -> Plan:
    """The plan for one model; `model` is the sha256 of its file where it has been loaded before.

    Raises LocalchatError where nothing fits, or the wish cannot be.
    """
    check_wish(subject.shape, subject.candidates, wish)
    found = make_plans([subject], machine, wish, model)[0]
    if isinstance(found, LocalchatError):
        raise found
    return found


def make_plans(
    subjects: Sequence[Subject], machine: Machine, wish: Wish, model: str = "", *, is_explained: bool = True
) -> list[Plan | LocalchatError]:
    """The plan for each model, with its reasons where it is to be explained, or why there is none; dry runs at once.

    Raises LocalchatError where llama.cpp cannot be asked.
    """
    names = tuple(room.name for room in rooms(machine.hardware, wish, NONE).devices)
    keys = [_keys(subject, len(names), wish) for subject in subjects]
    works = find_works(subjects, keys, Devices(names, machine.is_here, machine.rpc))
    known = lessons(loads(), machine.hardware, model) if machine.is_here else NONE
    pairs = zip(subjects, works, strict=True)
    return [_planned(subject, machine, wish, work, known, is_explained=is_explained) for subject, work in pairs]


@dataclass(frozen=True, slots=True)
class Choice:
    """One type that the model could have, and how it would run."""

    candidate: Candidate
    plan: Plan | None
    problem: str = ""
    """Why there is no plan."""


def compare(subject: Subject, machine: Machine, wish: Wish) -> list[Choice]:
    """How each type would run that the user may be given. Raises LocalchatError where llama.cpp cannot be asked."""
    allowed = [one for one in subject.candidates if is_wanted(one, wish)]
    found = []
    for one in allowed:
        chosen = make_plans([subject], machine, replace(wish, quant=one.quant), is_explained=False)[0]
        problem = str(chosen) if isinstance(chosen, LocalchatError) else ""
        found.append(Choice(one, None if isinstance(chosen, LocalchatError) else chosen, problem))
    return found


def _keys(subject: Subject, devices: int, wish: Wish) -> list[WorkKey]:
    """The dry runs for the wish, and for what would be done without it."""
    both = (wish, _unspoken(wish))
    return list(
        dict.fromkeys(key for one in both for key in work_keys(subject.shape, subject.candidates, devices, one))
    )


def _unspoken(wish: Wish) -> Wish:
    """The wish of somebody who asks for nothing, with the same limits."""
    return replace(Wish(), threads=wish.threads, gpu_memory_bytes=wish.gpu_memory_bytes, memory_bytes=wish.memory_bytes)


def _planned(
    subject: Subject, machine: Machine, wish: Wish, works: Works, known: Lessons, *, is_explained: bool
) -> Plan | LocalchatError:
    shape, candidates, hardware, usual = subject.shape, subject.candidates, machine.hardware, None
    try:
        chosen = plan(shape, candidates, hardware, wish, works, known, machine.rates)
    except LocalchatError as error:
        return error
    if not is_explained:
        return chosen
    if wish != _unspoken(wish):
        ordinary = [one for one in candidates if one.quant in (*GOOD, *LOW)] or candidates
        with suppress(LocalchatError):
            usual = plan(shape, ordinary, hardware, _unspoken(wish), works, known, machine.rates)
    return replace(chosen, reasons=reasons(chosen, usual, shape, candidates, hardware, wish))
