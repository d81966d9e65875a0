"""A published checkpoint in Hugging Face's layout, opened and understood but not yet read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.convert.config import Config, read_config
from localchat.convert.safetensors import read_shard
from localchat.convert.template import read_template
from localchat.convert.tensors import TensorRef
from localchat.convert.vocab import Vocab, optional_json, read_vocab
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json
from localchat.paths import is_safe_name

INDEX = "model.safetensors.index.json"
INDEX_LIMIT_BYTES = 64 << 20
SHARD = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
SMALL_FILES = (
    "config.json", "generation_config.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a model file is made from; `tensors` says where the weights lie."""

    folder: Path
    name: str
    config: Config
    tensors: Mapping[str, TensorRef]
    vocab: Vocab
    template: str | None
    sampling: Mapping[str, Any]
    """generation_config.json: what the authors recommend."""


def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Open a checkpoint folder. Raises LocalchatError that names what is missing, damaged or not supported."""
    config = read_config(folder)
    vocab = read_vocab(folder, config)
    shards = shard_names({path.name for path in folder.iterdir()}, folder / INDEX)
    return Checkpoint(
        folder=folder,
        name=name,
        config=config,
        tensors=_all_tensors([folder / shard for shard in shards]),
        vocab=vocab,
        template=read_template(folder),
        sampling=optional_json(folder / "generation_config.json"),
    )


def shard_names(present: Iterable[str], index: Path | None) -> list[str]:
    """The files of the weights, given the names there are and the index, if there is one, on the disk.

    Raises LocalchatError where there are no safetensors or a file that the index names is absent.
    """
    names = set(present)
    if INDEX in names and index is not None:
        wanted = _indexed(index)
        if missing := sorted(wanted - names):
            raise BadFile(f"{missing[0]}, which the index names, is missing", "download the checkpoint again")
        return sorted(wanted)
    found = sorted(name for name in names if SHARD.fullmatch(name))
    if not found:
        raise LocalchatError(
            "there are no weights in safetensors (model.safetensors or model-00001-of-….safetensors)",
            "only checkpoints with safetensors can be converted so far; look for one on the model's page",
        )
    return found


def _indexed(index: Path) -> set[str]:
    weights = read_json(index, INDEX_LIMIT_BYTES).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise BadFile(f"{index.name} has no weight_map", "download the checkpoint again")
    names = set(weights.values()) if all(isinstance(name, str) for name in weights.values()) else {""}
    if not all(is_safe_name(name) and name.endswith(".safetensors") for name in names):
        raise BadFile(f"{index.name} names a file that is no safetensors file of this folder", "do not use it")
    return names


def _all_tensors(shards: list[Path]) -> dict[str, TensorRef]:
    found: dict[str, TensorRef] = {}
    for shard in shards:
        for ref in read_shard(shard):
            if ref.name in found:
                raise BadFile(f"the tensor {ref.name} is in two files", "download the checkpoint again")
            found[ref.name] = ref
    return found
