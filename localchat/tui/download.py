"""One pull as the app knows it: what was asked for, how far it is, how it ended. Values and what they say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from localchat.errors import LocalchatError
from localchat.library import Installed
from localchat.pull.events import Chosen, Progress, PullEvent, Ready, Stage
from localchat.pull.pace import Rate, amounts
from localchat.text import duration, one_line, size

State = Literal[
    "waiting", "looking", "downloading", "quantizing", "checking", "stopping", "done", "failed", "stopped"
]  # fmt: skip
STAGES: dict[Stage, State] = {"download": "downloading", "convert": "quantizing", "check": "checking"}
LABELS: dict[Stage, str] = {"download": "Download", "convert": "Quantize", "check": "Check"}
OVER: tuple[State, ...] = ("done", "failed", "stopped")
MINUTES_FROM_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Bar:
    """A step of a pull and how much of it is done, from 0 to 1."""

    label: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Download:
    """A pull that was asked for."""

    number: int
    source: str
    """As the user named it."""
    is_quick: bool = False
    """Is everything on this disk already, so that it need not wait for other downloads?"""
    state: State = "waiting"
    chosen: Chosen | None = None
    steps: tuple[Progress, ...] = ()
    """The last progress of each stage, in the order in which the stages came."""
    rate: Rate | None = None
    error: LocalchatError | None = None
    model: Installed | None = None

    @property
    def name(self) -> str:
        """What the model is called; before that is known, the end of its source."""
        return self.chosen.name if self.chosen else one_line(self.source.rstrip("/").rpartition("/")[2], 60)

    @property
    def is_over(self) -> bool:
        """Has it ended, in whatever way?"""
        return self.state in OVER

    @property
    def is_running(self) -> bool:
        """Is work being done for it?"""
        return not self.is_over and self.state != "waiting"

    @property
    def can_be_stopped(self) -> bool:
        """Is there something to stop that is not being stopped already?"""
        return not self.is_over and self.state != "stopping"

    @property
    def can_go_on(self) -> bool:
        """Did it end early?"""
        return self.state in ("failed", "stopped")

    @property
    def fraction(self) -> float | None:
        """How much of the present step is done."""
        return _fraction(self.steps[-1]) if self.steps else None


def after(download: Download, event: PullEvent, rate: Rate | None = None) -> Download:
    """The download once this happened; `rate` is that of a progress."""
    match event:
        case Chosen():
            return replace(download, chosen=event)
        case Progress():
            earlier = tuple(step for step in download.steps if step.stage != event.stage)
            state = download.state if download.state == "stopping" else STAGES[event.stage]
            return replace(download, state=state, steps=(*earlier, event), rate=rate)
        case Ready(model):
            return replace(download, state="done", model=model)


def begun(download: Download) -> Download:
    """The same from its beginning; what was decided before is decided again."""
    return Download(download.number, download.source, download.is_quick, "looking")


def bars(download: Download) -> tuple[Bar, ...]:
    """The steps that this pull has, a bar for each; a step is done when a later one has begun."""
    seen = {step.stage: _fraction(step) for step in download.steps[:-1]}
    seen = dict.fromkeys(seen, 1.0) | {step.stage: _fraction(step) for step in download.steps[-1:]}
    chosen = download.chosen
    is_arriving, is_made = (chosen.download_bytes > 0, _is_made(chosen)) if chosen else (False, False)
    # What is downloaded is quantized while it arrives; where that is not possible, a step of its own follows.
    expected: dict[Stage, bool] = {"download": is_arriving, "convert": is_made and not is_arriving, "check": False}
    return tuple(
        Bar(LABELS[stage], seen.get(stage, 0.0)) for stage, is_due in expected.items() if stage in seen or is_due
    )


def _is_made(chosen: Chosen) -> bool:
    """Will a model file be made, rather than taken as it is?"""
    return chosen.disk_bytes > 0 and chosen.source_bytes != 0


def facts(download: Download, width: int = 200) -> str:
    """The present state in words: how much, how fast, how long still, and of what, if there is room; or its end."""
    if download.state in STAGES.values() and download.steps:
        last = download.steps[-1]
        words, item = amounts(last, download.rate), one_line(last.item, 60)
        return f"{words} · {item}" if len(words) + len(item) + 3 <= width else words
    if download.state == "done" and download.model is not None:
        receipt = download.model.receipt
        return f"Installed: {receipt.quant}, {size(receipt.file_bytes)}"
    return {
        "waiting": "Waits until the download before it has ended",
        "looking": f"Looking at {one_line(download.source, 100)} …",
        "stopping": "Stopping …",
        "stopped": "Stopped. What was downloaded is kept, and goes on from there",
    }.get(download.state, "")


def title_words(downloads: Iterable[Download]) -> str:
    """What is going on, for the title line; empty when nothing is."""
    known = list(downloads)
    running = [one for one in known if one.is_running]
    if not running:
        return ""
    first = running[0]
    others = sum(not one.is_over for one in known) - 1
    doing = "" if first.state == "downloading" else f" {first.state}"
    done = f" {first.fraction:.0%}".replace("%", " %") if first.fraction is not None else ""
    left = f", {_left(first.rate.left_seconds)} left" if first.rate else ""
    more = f" (+{others})" if others else ""
    return f"↓ {one_line(first.name, 30)}{doing}{done}{left}{more}"


def _left(seconds: float) -> str:
    """A time that changes seldom."""
    if seconds < MINUTES_FROM_SECONDS:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 3600 else duration(seconds)


def _fraction(step: Progress) -> float:
    return min(1.0, step.done_bytes / step.total_bytes) if step.total_bytes else 1.0
