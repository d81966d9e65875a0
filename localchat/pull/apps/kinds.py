"""Which GGUF files are models that can chat, and what the others are."""

from __future__ import annotations

from typing import Literal

from gguf.constants import MODEL_ARCH_NAMES

from localchat.gguf_file import ModelFile
from localchat.plan.facts import shape_of

Kind = Literal["model", "projector", "adapter", "embedding model", "part", "vocabulary", "other", "damaged"]
OF_TYPE: dict[str, Kind] = {"adapter": "adapter", "mmproj": "projector", "imatrix": "other"}
OF_ARCHITECTURE: dict[str, Kind] = {"clip": "projector", "controlvector": "adapter", "imatrix": "other"}
ENCODERS = (
    "bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "modern-bert", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
)  # fmt: skip
WHY: dict[Kind, str] = {
    "projector": "it lets a model see images or hear, and is no model itself",
    "adapter": "it is an adapter, which changes a model and is none itself",
    "embedding model": "it compares texts and writes none",
    "part": "it is a later part of a split model",
    "vocabulary": "it has no weights",
    "other": "it is no model",
}


def kind_of(model: ModelFile) -> tuple[Kind, str]:
    """What a file is, and why it cannot be adopted; empty where it can. Raises BadFile like `shape_of`."""
    facts, architecture = model.metadata, model.architecture
    kind = OF_TYPE.get(str(facts.get("general.type", ""))) or OF_ARCHITECTURE.get(architecture)
    if kind is None and _whole(facts.get("split.no")):
        kind = "part"
    if kind is None and (architecture in ENCODERS or _whole(model.fact("pooling_type"))):
        kind = "embedding model"
    if kind is None and not model.tensors and _whole(facts.get("split.count")) < 2:
        kind = "vocabulary"
    return (kind, WHY[kind]) if kind else ("model", _objection(model))


def _objection(model: ModelFile) -> str:
    """Why a model cannot be adopted."""
    if (parts := _whole(model.metadata.get("split.count"))) > 1:
        return f"it is split into {parts:,} files, which can be joined but not linked: localchat pull {model.path}"
    if model.architecture not in MODEL_ARCH_NAMES.values():
        return f"llama.cpp knows no architecture called {model.architecture or 'nothing'}"
    shape_of(model)
    return ""


def _whole(value: object) -> int:
    return value if type(value) is int else 0
