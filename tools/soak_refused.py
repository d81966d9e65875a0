"""Requests that must be refused, and a schema that a reply must obey."""

from __future__ import annotations

from bench_serve import CONTEXT_TOKENS
from soak_asking import NAME, PATHS, Body

ANIMALS, LEGS = ("whale", "gull", "crab"), (0, 2, 10)
SCHEMA = {
    "type": "object", "required": ["animal", "legs"], "additionalProperties": False,
    "properties": {"animal": {"enum": list(ANIMALS)}, "legs": {"enum": list(LEGS)}},
}  # fmt: skip
WRONG: tuple[tuple[int, str, str, Body | bytes | None, dict[str, str]], ...] = (
    (400, "POST", PATHS["chat"], b"{", {}),
    (400, "POST", PATHS["chat"], {"model": NAME}, {}),
    (400, "POST", PATHS["messages"], {"model": NAME, "messages": [{"role": "user", "content": "?"}]}, {}),
    (400, "POST", PATHS["embeddings"], {"model": NAME, "input": ""}, {}),
    (400, "POST", PATHS["completions"], {"model": NAME, "prompt": "a " * (2 * CONTEXT_TOKENS)}, {}),
    (401, "POST", PATHS["responses"], {"model": NAME, "input": "?"}, {"authorization": "Bearer another"}),
    (404, "GET", "/v1/nothing", None, {}),
    (404, "GET", "/v1/responses/resp_0", None, {}),
    (404, "POST", PATHS["chat"], {"model": "another", "messages": [{"role": "user", "content": "?"}]}, {}),
    (405, "GET", PATHS["chat"], None, {}),
    (415, "POST", PATHS["chat"], b"model=model", {"content_type": "text/plain"}),
)
"""Requests that are refused, and with which status."""
