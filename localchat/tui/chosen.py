"""The model that the user chose: one that is installed here, or one that a server runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localchat.engine.remote_model import RemoteModel
from localchat.library import Installed, remember_use

Chosen = Installed | RemoteModel


@dataclass(frozen=True, slots=True)
class Manners:
    """What is known of how a model wants to be talked with."""

    system: str = ""
    stops: tuple[str, ...] = ()
    sampling: Mapping[str, float] = field(default_factory=dict)


def manners(model: Chosen) -> Manners:
    """Of an installed model what its receipt says; a server's knows its own."""
    if isinstance(model, RemoteModel):
        return Manners()
    return Manners(model.receipt.system, model.receipt.stops, model.receipt.sampling)


def label(model: Chosen) -> str:
    """How the model is called before it is loaded."""
    return model.name or model.url if isinstance(model, RemoteModel) else f"{model.name} · {model.receipt.quant}"


def remember(model: Chosen, tokens_per_second: float) -> None:
    """Keep that an installed model was used, and how fast it wrote."""
    if isinstance(model, Installed):
        remember_use(model, tokens_per_second)
