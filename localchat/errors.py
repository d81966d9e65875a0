"""The failures that a user can understand. Everything else is a bug and shows a traceback with `--debug`."""

from typing import Literal

from localchat.text import capitalized


class LocalchatError(Exception):
    """One sentence on what went wrong, and one on what to do next."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def sentences(self) -> str:
        """Both, one behind the other. The first may begin with a name, which stays as it is."""
        return f"{self}. {capitalized(self.hint)}."


class BadFile(LocalchatError):
    """A file that is not what its name or header claims."""


class ContextFull(LocalchatError):
    """A prompt that cannot fit into the context, however much of the older conversation may be left out.

    `need` and `have` are tokens, of the prompt and of the room for it; `what` is what would have to fit.
    """

    def __init__(self, need: int, have: int, window: int, what: str = "this message") -> None:
        super().__init__(
            f"{what} is too long: it takes {need:,} tokens with all that belongs to it, "
            f"and {have:,} of the context's {window:,} are free for it beside the reply",
            "shorten it, or load the model with a larger --context",
        )
        self.need = need
        self.have = have


RanOut = Literal["host", "unknown"]
"""The main memory, for which the system kills; or that of some device, or the main one, as the process said itself."""


class EngineDied(LocalchatError):
    """The child process that runs llama.cpp ended on its own."""

    def __init__(self, message: str, hint: str, ran_out: RanOut | None = None) -> None:
        super().__init__(message, hint)
        self.ran_out = ran_out
        """Whose memory ran out, where that was the cause."""


class NoMemory(LocalchatError):
    """An allocation that failed while a model was loaded; a smaller plan may still fit."""

    def __init__(self, message: str, hint: str, where: str) -> None:
        super().__init__(message, hint)
        self.where = where
        """The name of the memory that was too small."""
