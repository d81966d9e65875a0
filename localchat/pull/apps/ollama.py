"""Ollama: a manifest for each model, whose layers are files named by their sha256.

manifests/HOST/NAMESPACE/MODEL/TAG is JSON in Docker's format; blobs/sha256-HEX are the weights, the template, the
system prompt, the parameters and the licence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from localchat.errors import BadFile, LocalchatError
from localchat.files import parse_json, read_bytes, read_json
from localchat.pull.apps.candidate import Candidate, Place
from localchat.pull.apps.manner import Manner, manner_of
from localchat.pull.apps.walk import files_below, is_file, is_folder, plain
from localchat.text import one_line

APP = "Ollama"
DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
KIND = "application/vnd.ollama.image."
MANIFEST_LIMIT_BYTES, LAYER_LIMIT_BYTES = 1 << 20, 1 << 20
LAYERS_LIMIT = 256
OWN_HOST, OWN_NAMESPACE, OWN_TAG = "registry.ollama.ai", "library", "latest"
SAMPLING = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "seed": "seed",
    "repeat_penalty": "repeat_penalty", "num_predict": "max_tokens", "typical_p": "typical_p",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}  # fmt: skip
UNUSED = {
    "template": "its template, which is not written in Jinja: the model file's own is used",
    "projector": "what it needs to see images",
    "messages": "the messages that each conversation begins with",
}


def folders(place: Place) -> list[Path]:
    """Where its models may be; its Linux service has a home of its own."""
    service = [place.root / "usr/share/ollama/.ollama/models"] if place.platform.startswith("linux") else []
    return [path for path in (place.named("OLLAMA_MODELS"), place.home / ".ollama/models", *service) if path]


def is_one(folder: Path) -> bool:
    """Are these Ollama's models?"""
    return is_folder(folder / "manifests") and is_folder(folder / "blobs")


def models_in(folder: Path) -> Iterator[Candidate]:
    """The models of all manifests; damaged ones say why they cannot be adopted.

    Of several names of one file those come first for which somebody has said how the model is to be run.
    """
    found = list(_models(folder))
    yield from (one for one in found if one.has_manner)
    yield from (one for one in found if not one.has_manner)


def _models(folder: Path) -> Iterator[Candidate]:
    for path in files_below(folder / "manifests"):
        if path.name.startswith(".") or not is_file(path):
            continue
        title = title_of(path.relative_to(folder / "manifests").parts)
        try:
            yield _model(folder / "blobs", title, _layers(path))
        except LocalchatError as error:
            yield Candidate(APP, title, path, trouble=str(error))


def title_of(parts: tuple[str, ...]) -> str:
    """What Ollama calls the model of a manifest: `mistral`, `mistral:7b`, `hf.co/owner/repo:Q4_K_M`."""
    *owner, tag = parts
    name = "/".join(owner).removeprefix(f"{OWN_HOST}/").removeprefix(f"{OWN_NAMESPACE}/")
    return name if tag == OWN_TAG else f"{name}:{tag}"


def suggested(title: str) -> str:
    """A name for it here; a tag may be nothing but the type of its weights."""
    model, _, tag = title.rpartition("/")[2].partition(":")
    return "-".join(filter(None, (plain(model), plain(tag))))


def _layers(path: Path) -> dict[str, list[str]]:
    """The sha256 of the layers of each kind. Raises BadFile for what is no manifest."""
    layers = read_json(path, MANIFEST_LIMIT_BYTES).get("layers")
    if not isinstance(layers, list) or len(layers) > LAYERS_LIMIT:
        raise BadFile("its manifest has no sensible list of layers", "pull it in Ollama again")
    found: dict[str, list[str]] = {}
    for layer in layers:
        kind, digest = (layer.get(key) for key in ("mediaType", "digest")) if isinstance(layer, dict) else ("", "")
        match = DIGEST.fullmatch(digest) if isinstance(digest, str) else None
        if match is None or not isinstance(kind, str):
            raise BadFile("its manifest names a layer that is no sha256", "do not trust where it came from")
        found.setdefault(kind.partition(";")[0].removeprefix(KIND), []).append(match[1])
    return found


def _model(blobs: Path, title: str, layers: Mapping[str, list[str]]) -> Candidate:
    """The model of these layers. Raises BadFile where it is none that one file could be."""
    weights = layers.get("model", [])
    if len(weights) != 1:
        raise BadFile("Ollama has no single model file of it", "pull a GGUF model in Ollama")
    if "adapter" in layers:
        raise BadFile("Ollama applies an adapter to it, which has to be merged first", "pull its base, or the adapter")
    manner = _manner(blobs, layers)
    return Candidate(
        APP, title, _blob(blobs, weights[0]), suggested(title), weights[0],
        manner.stops, manner.system, manner.sampling, manner.notes,
    )  # fmt: skip


def _manner(blobs: Path, layers: Mapping[str, list[str]]) -> Manner:
    texts = {kind: _text(blobs, layers[kind][-1]) for kind in ("params", "system", "license") if kind in layers}
    params: Mapping[str, Any] = parse_json(texts["params"].encode(), "its parameters") if "params" in texts else {}
    manner = manner_of(APP, params, SAMPLING, texts.get("system", "").strip())
    notes = [f"not taken over from {APP}: {words}" for kind, words in UNUSED.items() if kind in layers]
    if licence := texts.get("license", "").strip():
        notes.append(f"its licence in {APP}: {one_line(licence.splitlines()[0], 100)}")
    return Manner(manner.stops, manner.system, manner.sampling, (*manner.notes, *notes))


def _text(blobs: Path, sha256: str) -> str:
    path = _blob(blobs, sha256)
    if not is_file(path):
        raise BadFile(f"its layer {path.name[:19]}… is not there", "pull it in Ollama again")
    try:
        return read_bytes(path, LAYER_LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(f"its layer {path.name[:19]}… is no text", "pull it in Ollama again") from error


def _blob(blobs: Path, sha256: str) -> Path:
    """The file of a digest; early versions wrote a colon."""
    old = blobs / f"sha256:{sha256}"
    return old if is_file(old) else blobs / f"sha256-{sha256}"
