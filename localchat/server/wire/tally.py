"""What replies took, in the fields of each protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from localchat.engine.events import Usage
from localchat.prompt.ledger import Ledger


@dataclass(slots=True)
class Tally:
    """Tokens of all choices of one answer: the prompt is theirs together."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, usage: Usage) -> None:
        """One more choice is complete."""
        self.cached = usage.cached_tokens if not self.prompt else self.cached
        self.prompt = usage.prompt_tokens
        self.completion += usage.completion_tokens

    def openai(self) -> dict[str, Any]:
        """As chat completions and completions tell it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    def responses(self) -> dict[str, Any]:
        """As responses tell it."""
        return {
            "input_tokens": self.prompt,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.prompt + self.completion,
        }

    def anthropic(self) -> dict[str, Any]:
        """As messages tell it: what was in the cache does not count as input there."""
        return {
            "input_tokens": self.prompt - self.cached,
            "cache_read_input_tokens": self.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.completion,
        }


def ledger_fields(ledger: Ledger) -> dict[str, Any]:
    """That something is not in the prompt, where it is so: OpenAI's protocol has no word for it."""
    return {"x_truncated": asdict(ledger)} if ledger.dropped_turns else {}
