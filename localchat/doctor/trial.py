"""Does a model answer? A small one is loaded and asked, on the processor and on each device, as the engine does it.

`python -m localchat.doctor.trial` is the child process for one of them, which may crash: a build that loads and lists
its devices can still end the process over the first model.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from localchat.child import ChildDied, answer, ask
from localchat.doctor.counting import CONTEXT, LAYERS, answer_to, tokens_of, write_model
from localchat.doctor.finding import Finding
from localchat.engine.events import Piece
from localchat.engine.store import NO_STORE
from localchat.errors import LocalchatError
from localchat.llama.libraries import reinstall_command
from localchat.llama.placement import HOST, Placement, Share
from localchat.plan.hardware import Hardware
from localchat.sampling import Sampling

if TYPE_CHECKING:
    from localchat.engine.schedule import Schedule

TIMEOUT_SECONDS = 180  # the first use of a GPU may compile its kernels
PROMPT = bytes(range(0x20, 0x7F)) + b"0"  # more tokens than a matrix kernel for single ones takes
ANSWER_TOKENS = 24
THREADS = 2


def check_answers(hardware: Hardware) -> list[Finding]:
    """A finding for the processor and one for each device."""
    places = {HOST: "the processor", **{device.name: device.name for device in hardware.devices}}
    with TemporaryDirectory(prefix="localchat-") as folder:
        return [_tried(place, words, Path(folder)) for place, words in places.items()]


def _tried(place: str, words: str, folder: Path) -> Finding:
    try:
        found = ask("localchat.doctor.trial", {"place": place, "folder": str(folder)}, TIMEOUT_SECONDS)
    except ChildDied as error:
        return Finding("engine", "broken", f"a small model on {words} ends the engine: {error}", reinstall_command())
    except LocalchatError as error:  # the next step is in it: memory may be short
        return Finding("engine", "broken", f"a small model does not load on {words}: {error}; {error.hint}")
    if not found["is_right"]:
        return Finding("engine", "broken", f"a small model answers wrongly on {words}", reinstall_command())
    return Finding("engine", "ok", f"a small model answers on {words} as it should")


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    # Imported here, behind the streams' redirection: loading a GPU backend prints.
    from localchat.engine.loading import load

    path = Path(question["folder"]) / "counting.gguf"
    write_model(path)
    shares = () if question["place"] == HOST else (Share(question["place"], LAYERS + 1),)
    placement = Placement(CONTEXT, THREADS, CONTEXT, "f16", shares)
    _, _, schedule = load(path, placement, NO_STORE, lambda _fraction: None)
    return {"is_right": _answer(schedule, tokens_of(PROMPT)) == answer_to(PROMPT, ANSWER_TOKENS)}


def _answer(schedule: Schedule, tokens: list[int]) -> str:
    schedule.add(1, tokens, Sampling(temperature=0, max_tokens=ANSWER_TOKENS), ())
    text = ""
    while not schedule.is_idle:
        for _, told in schedule.step():
            if isinstance(told, LocalchatError):
                raise told
            text += told.text if isinstance(told, Piece) else ""
    return text


if __name__ == "__main__":
    answer(_reply)
