"""Which model of which server is wanted. What asks the server is loaded when it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model of a server, as it is asked for."""

    url: str
    name: str = ""
    """Empty takes the only one there is."""
    token: str = field(default="", repr=False)
