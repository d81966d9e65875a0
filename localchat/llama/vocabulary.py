"""What llama.cpp makes of a model file's vocabulary, asked in a child process: llama.cpp may end over a bad one.

`python -m localchat.llama.vocabulary` is that process. It loads the vocabulary alone, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localchat.child import ChildDied, answer, ask
from localchat.errors import BadFile, LocalchatError
from localchat.llama.placement import Placement

TIMEOUT_SECONDS = 60.0  # a model file on a slow disk; the vocabulary itself takes less than one
NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "GGML_VK_VISIBLE_DEVICES": ""}  # they take seconds
HINT = "report this with the name of the model"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Answers about a vocabulary; lists are in the order of the questions."""

    count: int
    """Number of tokens."""
    plain: Sequence[Sequence[int]]
    """Ids of each text read as plain text, nothing added."""
    special: Sequence[Sequence[int]]
    """Ids of each text with special tokens read as such, nothing added."""
    pieces: Sequence[str]
    """The text of each id."""
    ends: Sequence[int]
    """All ids that end a reply."""
    user_defined: Sequence[int]
    """Ids of the tokens that are found in plain text before all others."""
    special_ids: Sequence[int]
    """Ids of the tokens that are found where special tokens are read as such; those of `user_defined` are among them.

    llama.cpp decides this by the text of some tokens, whatever the file says.
    """


def ask_vocabulary(path: Path, texts: Sequence[str], ids: Sequence[int]) -> Vocabulary:
    """Load the vocabulary of a model file in a child process, and ask for the tokens of texts and the texts of ids.

    Raises BadFile where llama.cpp refuses the file or crashes over it.
    """
    question = {"path": str(path), "texts": list(texts), "ids": list(ids)}
    try:
        return Vocabulary(**ask("localchat.llama.vocabulary", question, TIMEOUT_SECONDS, NO_GPU))
    except LocalchatError as error:
        what = f"llama.cpp cannot use the vocabulary of this model: {error}"
        raise BadFile(what if isinstance(error, ChildDied) else str(error), HINT) from error


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    from localchat.llama.model import Model, start

    start()
    model = Model(Path(question["path"]), Placement(0, 1, 1, "f16"), part="vocabulary")
    texts, user_defined = question["texts"], model.user_defined()
    return asdict(
        Vocabulary(
            count=model.vocabulary,
            plain=[model.tokenize(text) for text in texts],
            special=[model.tokenize(text, special=True) for text in texts],
            pieces=[model.piece(token, special=True).decode("utf-8", "replace") for token in question["ids"]],
            ends=[token for token in range(model.vocabulary) if model.is_end(token)],
            user_defined=user_defined,
            special_ids=sorted({*user_defined, *model.special_tokens().values()}),
        )
    )


if __name__ == "__main__":
    answer(_reply)
