"""Brings together what a model needs and what a checkpoint has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from localchat.convert.config import Config
from localchat.convert.names import EMBEDDING, OUTPUT, ROPE_FACTORS, Naming, Target, biases, targets, unknown
from localchat.convert.rope import frequency_factors
from localchat.convert.weights import Computed, Padded, Rotated, Stacked, Weights
from localchat.errors import BadFile


@dataclass(frozen=True, slots=True)
class Binding:
    """Every tensor to write with its weights, and the config as the weights say it is."""

    config: Config
    tensors: tuple[tuple[Target, Weights], ...]
    notes: tuple[str, ...]


def bind(config: Config, found: Mapping[str, Weights], naming: Naming) -> Binding:
    """Match tensors by name. Raises BadFile where one is missing, has another shape, or belongs to no such model."""
    config, notes = _as_the_weights_say(config, found, naming)
    wanted = targets(config)
    wanted += [target for target in biases(config) if target.named(naming)[0] in found]
    if extra := unknown(found, wanted, naming):
        raise BadFile(
            f"the checkpoint has {len(extra)} tensors that its architecture has not, such as {extra[0]}",
            "it is not the plain model that its config.json describes",
        )
    return Binding(config, tuple((target, _weights(target, config, found, naming)) for target in wanted), notes)


def _as_the_weights_say(config: Config, found: Mapping[str, Weights], naming: Naming) -> tuple[Config, tuple[str, ...]]:
    """The size of the vocabulary, and whether the output has weights of its own."""
    column = 0 if naming == "huggingface" else 1
    embedding, output = (found.get((row.huggingface, row.consolidated)[column]) for row in (EMBEDDING, OUTPUT))
    notes, tied = list(config.rope.notes), output is None
    if tied and not config.tied:
        notes.append("the output has no weights of its own, so it shares those of the embedding")
    if config.tied and not tied:  # as llama.cpp's converter has it
        notes.append("the config says that the output shares the embedding, but it has weights, which are kept")
    rows = max((part.shape[0] for part in (embedding, output) if part is not None), default=0)
    if rows and rows != config.vocabulary:
        notes.append(f"the embedding has {rows:,} rows where the config says {config.vocabulary:,}")
    return replace(config, tied=tied, vocabulary=rows or config.vocabulary), tuple(notes)


def _weights(target: Target, config: Config, found: Mapping[str, Weights], naming: Naming) -> Weights:
    if target.name == ROPE_FACTORS:
        return Computed(np.asarray(frequency_factors(config.rope, config.head_dim)))
    names = target.named(naming)
    parts = tuple(_part(name, target, found) for name in names)
    whole = parts[0] if len(parts) == 1 else Stacked(parts)
    return Rotated(whole, target.rope_heads) if target.rope_heads and naming == "huggingface" else whole


def _part(name: str, target: Target, found: Mapping[str, Weights]) -> Weights:
    part = found.get(name)
    if part is None:
        raise BadFile(f"the tensor {name} is missing from the checkpoint", "download the checkpoint again")
    wanted = (target.matrix_rows, target.columns)
    if target.name in (EMBEDDING.name, OUTPUT.name) and part.shape[0] < wanted[0] and part.shape[1] == wanted[1]:
        return Padded(part, wanted[0])
    if part.shape != wanted:
        raise BadFile(
            f"the tensor {name} has the shape {part.shape} where config.json says {wanted}",
            "the checkpoint and its config.json do not belong together",
        )
    return part
