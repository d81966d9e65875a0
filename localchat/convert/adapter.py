"""LoRA adapters as PEFT saves them (adapter_config.json), merged into the weights of their base while these are read.

Merging is W + scale * B A, with scale = alpha / r, or alpha / sqrt(r) where the config says `use_rslora`
(https://huggingface.co/docs/peft, LoraConfig). Modules in `modules_to_save` replace those of the base.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localchat.convert.names import plain_name
from localchat.convert.numbers import positive, whole
from localchat.convert.small_files import file_names
from localchat.convert.weight_set import has_weights
from localchat.convert.weights import Merged, Weights
from localchat.errors import BadFile, LocalchatError
from localchat.files import read_json

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")  # in the order of preference
PREFIX = "base_model.model."
LOW_RANK = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")
SAVED = re.compile(r"(?P<module>.+?)(\.modules_to_save)?(\.default)?\.(?P<kind>weight|bias)")
PLAIN = re.compile(r"[\w.]+")
RANK_LIMIT = 1 << 14


@dataclass(frozen=True, slots=True)
class Adapter:
    """What adapter_config.json says of how to merge."""

    base: str
    """A Hub repository or a folder, as its authors wrote it; empty where they did not."""
    alpha: float
    is_rank_stabilized: bool
    alphas: Mapping[str, float] = field(default_factory=dict)
    """Alpha of modules whose names end like this."""

    def scale(self, module: str, rank: int) -> float:
        """By what B A of a module is multiplied."""
        alpha = next((value for end, value in self.alphas.items() if f".{module}".endswith(f".{end}")), self.alpha)
        return alpha / (math.sqrt(rank) if self.is_rank_stabilized else rank)


def is_adapter(names: Iterable[str]) -> bool:
    """Do files of these names make an adapter? A merged model may keep the config of what was merged into it."""
    present = frozenset(names)
    return CONFIG in present and not has_weights(present)


def read_adapter(folder: Path) -> Adapter | None:
    """The adapter in a folder, None where there is none.

    Raises LocalchatError for kinds that cannot be merged, and for a folder that may not be read.
    """
    names = file_names(folder) if folder.is_dir() else ()
    return parse_adapter(read_json(folder / CONFIG)) if is_adapter(names) else None


def parse_adapter(raw: Mapping[str, Any]) -> Adapter:
    """The adapter in parsed JSON. Raises LocalchatError like `read_adapter`."""
    kind = raw.get("peft_type", "LORA")
    if kind != "LORA" or raw.get("use_dora") or raw.get("use_qalora"):
        name = "DoRA" if raw.get("use_dora") else str(kind)[:40]
        raise LocalchatError(f"the adapter is of the kind {name}, which cannot be merged", "only plain LoRA can")
    if raw.get("bias", "none") != "none":
        raise LocalchatError("the adapter changes biases, which is not supported", "only plain LoRA can be merged")
    base = raw.get("base_model_name_or_path") or ""
    if not isinstance(base, str):
        raise BadFile(f"{CONFIG} names no model that the adapter belongs to", "do not use it")
    whole(raw, "r", default=8, limit=RANK_LIMIT)  # each rank is taken from the weights themselves
    return Adapter(base, positive(raw, "lora_alpha", 8.0), raw.get("use_rslora") is True, _patterns(raw))


def _patterns(raw: Mapping[str, Any]) -> dict[str, float]:
    given = raw.get("alpha_pattern") or {}
    if not isinstance(given, dict) or not all(PLAIN.fullmatch(name) for name in given):
        raise LocalchatError(
            f"{CONFIG} has an alpha_pattern that is no plain name", "merge the adapter with PEFT first"
        )
    return {name: positive(given, name) for name in given}


def merge(adapter: Adapter, base: Mapping[str, Weights], own: Mapping[str, Weights]) -> dict[str, Weights]:
    """The base's weights with the adapter's put in. Raises BadFile where the two do not belong together."""
    merged = dict(base)
    sides: dict[str, dict[str, Weights]] = {}
    for name, weights in own.items():
        plain = plain_name(name.removeprefix(PREFIX).replace(".base_layer.", "."))
        if match := LOW_RANK.fullmatch(plain):
            sides.setdefault(match["module"], {})[match["side"]] = weights
        elif (match := SAVED.fullmatch(plain)) and "lora_" not in plain:
            merged[f"{match['module']}.{match['kind']}"] = weights
        else:
            raise LocalchatError(
                f"the adapter's tensor {name} is of a kind that cannot be merged", "only plain LoRA can"
            )
    for module, pair in sides.items():
        merged[f"{module}.weight"] = _merged(adapter, module, merged.get(f"{module}.weight"), pair)
    return merged


def _merged(adapter: Adapter, module: str, part: Weights | None, pair: Mapping[str, Weights]) -> Weights:
    if part is None or pair.keys() != {"A", "B"}:
        raise BadFile(f"the adapter changes {module}, which its base has not", "the two do not belong together")
    down, up = pair["A"], pair["B"]
    rank = down.shape[0]
    if not 1 <= rank <= RANK_LIMIT or up.shape != (part.shape[0], rank) or down.shape[1] != part.shape[1]:
        raise BadFile(f"the adapter's {module} has another shape than its base's", "the two do not belong together")
    return Merged(part, down, up, adapter.scale(module, rank))


def adapter_file(names: Iterable[str]) -> str:
    """The file of the adapter's weights. Raises LocalchatError where there is none."""
    present = set(names)
    found = next((name for name in FILES if name in present), None)
    if found is None:
        raise LocalchatError("there is no adapter_model.safetensors or adapter_model.bin", "download the adapter again")
    return found
