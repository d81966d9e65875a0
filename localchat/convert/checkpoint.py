"""A published checkpoint, opened and understood but not yet read: whichever layout its authors chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localchat.convert.adapter import Adapter, adapter_file, merge, read_adapter
from localchat.convert.binding import bind
from localchat.convert.config import Config, read_config
from localchat.convert.consolidated import PARAMS, join_slices, read_params
from localchat.convert.experts import split_experts
from localchat.convert.mistral_template import mistral_template
from localchat.convert.names import USELESS, Naming, Target, plain_name
from localchat.convert.safetensors import read_shard
from localchat.convert.schemes import refuse_quantized
from localchat.convert.small_files import file_names, has_tokenizer
from localchat.convert.template import Templates, read_templates
from localchat.convert.tensors import TensorRef
from localchat.convert.tokenizer.tokenizer_files import optional_json
from localchat.convert.tokenizer.vocab import Vocab, read_vocab
from localchat.convert.torch.torchpickle import read_torch
from localchat.convert.weight_set import choose
from localchat.convert.weights import Stored, Weights
from localchat.errors import BadFile, LocalchatError

PUBLISHED = ("tokenizer.model", "tokenizer.json")  # other tokenizers come from Mistral alone, without templates


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a model file is made from; the weights say where they lie."""

    name: str
    config: Config
    tensors: tuple[tuple[Target, Weights], ...]
    vocab: Vocab
    templates: Templates
    sampling: Mapping[str, Any]
    """generation_config.json: what the authors recommend."""
    tokenizer_folder: Path
    """Where the files of the tokenizer lie."""
    files: tuple[Path, ...]
    """All files with weights."""
    notes: tuple[str, ...] = field(default=())
    """What was repaired or left out, a sentence each."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """One folder's weights under the names of its layout."""

    config: Config
    weights: Mapping[str, Weights]
    naming: Naming
    files: tuple[Path, ...]


def read_checkpoint(folder: Path, name: str, base: Path | None = None, template: str | None = None) -> Checkpoint:
    """Open a checkpoint folder; `base` is the folder of the model that an adapter belongs to.

    `template` is what the catalog knows, for checkpoints that have none of their own.
    Raises LocalchatError that names what is missing, damaged or not supported.
    """
    adapter = read_adapter(folder)
    opened = _opened(folder) if adapter is None else _opened_adapter(folder, adapter, base)
    binding = bind(opened.config, opened.weights, opened.naming)
    tokenizer = folder if base is None or has_tokenizer(folder) else base
    templates = _templates(folder, base, template)
    vocab = read_vocab(tokenizer, binding.config, templates)
    if templates.default is None:
        templates = _implied(vocab, opened.naming)
    return Checkpoint(
        name=name,
        config=binding.config,
        tensors=binding.tensors,
        vocab=vocab,
        templates=templates,
        sampling=_sampling(folder, base),
        tokenizer_folder=tokenizer,
        files=opened.files,
        notes=(*binding.notes, *vocab.notes, *templates.notes),
    )


def _templates(folder: Path, base: Path | None, known: str | None) -> Templates:
    """The checkpoint's own templates, else those of its base, else what the catalog knows."""
    found = read_templates(folder)
    if found.default is None and base is not None:
        found = read_templates(base)
    if found.default is None and known:
        return Templates(known, {}, "the catalog", ("it has no chat template, so that of the catalog is used",))
    return found


def _implied(vocab: Vocab, naming: Naming) -> Templates:
    """What Mistral's own layout implies; nothing for checkpoints of others."""
    own = mistral_template(vocab) if naming == "consolidated" or vocab.source not in PUBLISHED else None
    notes = ("it has no chat template, so Mistral's own is used",)
    return Templates(own, {}, "Mistral's format", notes) if own else Templates()


def config_of(folder: Path) -> Config:
    """The shape of the model in a folder, from its config alone. Raises LocalchatError like `read_checkpoint`."""
    is_own_layout = (folder / PARAMS).is_file() and not (folder / "config.json").is_file()
    return read_params(folder) if is_own_layout else read_config(folder)


def _opened(folder: Path) -> _Opened:
    config = config_of(folder)
    chosen = choose(file_names(folder), folder)
    files = tuple(folder / name for name in chosen.files)
    slices = [_refs(file) for file in files]
    refuse_quantized(ref.name for refs in slices for ref in refs)
    if chosen.kind != "consolidated":
        return _Opened(config, _by_name(slices, chosen.index), "huggingface", files)
    if not (folder / PARAMS).is_file():
        raise BadFile(f"{chosen.files[0]} needs {PARAMS}, which is missing", "download the checkpoint again")
    config = read_params(folder, slices)
    return _Opened(config, join_slices(config, slices), "consolidated", files)


def _opened_adapter(folder: Path, adapter: Adapter, base: Path | None) -> _Opened:
    if base is None:
        name = adapter.base[:80] or "a model that it does not name"
        raise LocalchatError(f"this is an adapter of {name}", "give the folder of that model with --base")
    if read_adapter(base) is not None:
        raise LocalchatError(f"{base} is an adapter itself", "merge the two with PEFT first")
    below = _opened(base)
    if below.naming != "huggingface":
        raise LocalchatError("the adapter's base is in Mistral's own layout", "use the Hugging Face layout of it")
    file = folder / adapter_file(file_names(folder))
    own: dict[str, Weights] = {ref.name: Stored(ref) for ref in _refs(file)}
    files = (file, *below.files)  # the small one first: its tensors are there before those they are merged into
    return _Opened(below.config, merge(adapter, below.weights, own), "huggingface", files)


def _refs(file: Path) -> list[TensorRef]:
    return read_shard(file) if file.suffix == ".safetensors" else read_torch(file)


def _by_name(slices: Sequence[Sequence[TensorRef]], index: Mapping[str, str]) -> dict[str, Weights]:
    """Tensors by their plain names. One that is in two files is taken from where the index says."""
    found: dict[str, TensorRef] = {}
    for ref in (ref for refs in slices for ref in refs):
        name = plain_name(ref.name)
        if (other := found.get(name)) is not None:
            if other.file == ref.file:
                raise BadFile(f"{ref.file.name} has two tensors that mean {name}", "download the checkpoint again")
            if index.get(ref.name) not in (ref.file.name, other.file.name):
                raise BadFile(f"the tensor {ref.name} is in two files", "download the checkpoint again")
        if name not in found or index.get(ref.name) == ref.file.name:
            found[name] = ref
    useful = (ref for name, ref in found.items() if not USELESS.fullmatch(name))
    return {plain_name(ref.name): Stored(ref) for whole in useful for ref in split_experts(whole)}


def _sampling(folder: Path, base: Path | None) -> dict[str, Any]:
    own = optional_json(folder / "generation_config.json")
    return own or (optional_json(base / "generation_config.json") if base else {})
