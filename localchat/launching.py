"""How a model is to be loaded, as a value. What loads it is a lot of code, and is not needed to say so."""

from __future__ import annotations

from dataclasses import dataclass

from localchat.llama.placement import SLOTS


@dataclass(frozen=True, slots=True)
class Launch:
    """How a model is to be loaded, as the user said."""

    context: int = 0
    """Tokens; 0 takes the setting, and else leaves it to the plan."""
    rpc: tuple[str, ...] = ()
    """HOST:PORT of other machines' devices."""
    slots: int = SLOTS
    """Conversations that are kept at once."""
    is_kept: bool = True
    """Is what was read kept on disk? Not of a question that nobody comes back to."""


AS_SET = Launch()
