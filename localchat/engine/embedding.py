"""Texts that become vectors, each read beside the replies that are being written. Runs in the engine's process.

A text becomes the vector of its last token. llama.cpp gives vectors only in steps whose every token is an output, and
few may be: long texts are read up to their last token as prompts are, and then all that end do so in one short step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localchat.engine.events import Embedded
from localchat.engine.job import Task
from localchat.engine.vector import scaled
from localchat.errors import LocalchatError


@dataclass(eq=False, kw_only=True)
class Embedding(Task):
    """A text that is read and then is a vector."""

    found_tokens: int = 0
    """Of it that the slot had before; what is read besides does not stay, because nobody goes on from it."""

    def end(self, vector: NDArray[np.float32]) -> Embedded:
        """The last event. Raises LocalchatError where the model has computed no vector."""
        unit = scaled(vector)
        if not unit:
            raise LocalchatError("the model makes no vector of this text", "try another text, or verify the model")
        return Embedded(unit, len(self.tokens), self.cached_tokens)
