"""Search of the Hub for models that write text.

By huggingface_hub's own session, so that its token, endpoint and offline mode hold, but not by its `list_models`: that
has no limit of time, and tries again for half a minute where there is no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localchat.errors import LocalchatError
from localchat.pull.hub import explained
from localchat.pull.source import REPO, endpoint
from localchat.pull.token import token
from localchat.text import one_line

LIMIT = 30
TIMEOUT_SECONDS = 15.0
TEXT_LIMIT = 200
TAGS_LIMIT = 40
FIELDS = ("downloads", "gated", "lastModified", "likes", "tags")
"""A list of the Hub has some of these only where they are asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A repository as the Hub's search shows it."""

    id: str
    downloads: int = 0
    """Of the last 30 days, as the Hub counts them."""
    likes: int = 0
    gated: bool = False
    updated_at: str = ""
    """The day, ISO 8601."""
    tags: tuple[str, ...] = ()

    @property
    def is_gguf_only(self) -> bool:
        """Does it hold no checkpoint, as far as its tags tell?"""
        return "gguf" in self.tags and not {"safetensors", "pytorch"} & set(self.tags)


def search(text: str, limit: int = LIMIT) -> list[Found]:
    """Repositories whose name has the text in it, the most downloaded first. Raises LocalchatError."""
    from huggingface_hub import get_session, hf_raise_for_status

    known = token()
    headers = {"Authorization": f"Bearer {known}"} if known else {}
    query: dict[str, str | int | list[str]] = {
        "search": one_line(text, TEXT_LIMIT), "pipeline_tag": "text-generation", "sort": "downloads", "limit": limit,
        "expand": list(FIELDS),
    }  # fmt: skip
    with explained("its search"):
        answer = get_session().get(f"{endpoint()}/api/models", params=query, headers=headers, timeout=TIMEOUT_SECONDS)
        hf_raise_for_status(answer)
    try:
        return found_in(answer.json(), limit)
    except (ValueError, RecursionError) as error:
        raise LocalchatError(
            f"{endpoint()} does not answer as a Hub does", "look at HF_ENDPOINT, or sign in to the network"
        ) from error


def found_in(raw: Any, limit: int = LIMIT) -> list[Found]:
    """What parsed JSON says; whatever is not a repository is left out. Raises ValueError where it is no list."""
    if not isinstance(raw, list):
        raise ValueError("a list is wanted")
    found = [_found(one) for one in raw if isinstance(one, dict)]
    return [one for one in found if one is not None][:limit]


def _found(raw: Mapping[str, Any]) -> Found | None:
    repo = raw.get("id")
    if not isinstance(repo, str) or not REPO.fullmatch(repo):
        return None
    tags = raw.get("tags")
    texts = [one_line(tag, 60) for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    when = raw.get("lastModified") or raw.get("createdAt")
    return Found(
        id=repo,
        downloads=_count(raw.get("downloads")),
        likes=_count(raw.get("likes")),
        gated=bool(raw.get("gated")),
        updated_at=one_line(when)[:10] if isinstance(when, str) else "",
        tags=tuple(texts[:TAGS_LIMIT]),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
