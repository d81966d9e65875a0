"""What `localchat status` tells."""

from __future__ import annotations

import time
from typing import Any

import httpx2

from localchat.printing import say
from localchat.server.running import Running, own_token
from localchat.text import duration, one_line

ANSWER_SECONDS = 5.0
NAME_CHARACTERS = 200


def facts_of(running: Running | None) -> dict[str, Any]:
    """The server, and what it says of itself."""
    if running is None:
        return {"running": False}
    return {
        "running": True,
        "url": running.url,
        "pid": running.pid,
        "seconds": round(max(0.0, time.time() - running.started), 1),
        **_answer(running),
    }


def print_status(facts: dict[str, Any]) -> None:
    """The same in words."""
    if not facts["running"]:
        say("no server runs; start one with: localchat serve --background")
        return
    print(f"serving at {facts['url']} for {duration(facts['seconds'])} (process {facts['pid']})")
    if not facts["answers"]:
        say("it does not answer; end it with: localchat stop")
    for model in facts.get("models", ()):
        context = model["context"]
        print(f"{model['name']}" + (f"  in memory, {context:,} tokens of context" if context else ""))


def _answer(running: Running) -> dict[str, Any]:
    """Does it answer, and with which models? Those are told only to whoever has the token."""
    headers = {"authorization": f"Bearer {own_token()}"} if running.has_own_token else {}
    try:
        answer = httpx2.get(f"{running.url}/models", headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
        entries = answer.json()["data"] if answer.status_code == 200 else None
    except (httpx2.HTTPError, ValueError, KeyError):
        return {"answers": False}
    if entries is None:
        return {"answers": True}
    models = [
        {"name": one_line(entry["id"], NAME_CHARACTERS), "context": entry.get("loaded_context_length")}
        for entry in entries
    ]
    return {"answers": True, "models": models}
