"""The checks of an installed model once more, and those of its source where that is still there."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import Layout, layout
from localchat.convert.model_source import requantized
from localchat.convert.proof.rows import Files, check_finite, check_rows
from localchat.convert.proof.tokens import (
    PREFIX,
    Asked,
    ask_about,
    check_added,
    check_bytes,
    check_vocabulary,
)
from localchat.convert.proof.turns import check_renders, check_stop
from localchat.errors import BadFile, LocalchatError
from localchat.gguf_file import ModelFile, read_header
from localchat.library import Check, Installed, Receipt
from localchat.paths import is_safe_name
from localchat.pull.checking import hashing, shown
from localchat.pull.events import Progress
from localchat.pull.rebuilding import check_rebuilt

Verifying = Generator[Progress, None, tuple[Check, ...]]
END_ROLES = ("eos", "eot", "eom")


def verify(installed: Installed, rebuild_threads: int = 0) -> Verifying:
    """All checks of an installed model, failed ones among them; none is raised.

    With so many threads every tensor is made once more from the source, where that is on this machine.
    """
    sha256 = yield from hashing(installed.path)
    checks = [_check_hash(sha256, installed.receipt)]
    try:
        model = read_header(installed.path)
    except BadFile as error:
        return (*checks, Check("header", "failed", str(error)))
    checks.append(Check("header", "passed", f"{len(model.tensors):,} tensors and {len(model.metadata):,} facts"))
    checks += check_words(model, installed.receipt)
    yield Progress("check", "vocabulary", 0, model.file_bytes)
    checks += yield from _check_weights(model, installed.receipt, rebuild_threads)
    return tuple(checks)


def check_words(model: ModelFile, receipt: Receipt) -> tuple[Check, ...]:
    """Everything about text, as far as it can be told without the source.

    A file that was not made here may have its ways: what would be a failure of ours is a note then.
    """
    try:
        found = _words(model, receipt)
    except BadFile as error:
        found = (Check("vocabulary", "failed", str(error)),)
    is_ours = bool(receipt.recipe)
    return tuple(replace(check, verdict="noted") if check.is_failed and not is_ours else check for check in found)


def _words(model: ModelFile, receipt: Receipt) -> tuple[Check, ...]:
    has_bytes = check_bytes(model)
    if has_bytes.is_failed:  # llama.cpp would crash
        return (has_bytes,)
    asked = ask_about(model, {})
    return (
        check_vocabulary(model, asked),
        has_bytes,
        check_added(model, asked, {}),
        _check_tokens(asked, receipt),
        check_renders(model, receipt.fingerprints),
        _check_stop(model, asked, receipt),
    )


def _check_hash(sha256: str, receipt: Receipt) -> Check:
    if sha256 != receipt.file_sha256:
        return Check("sha256", "failed", "the model file is not the one that was installed")
    return Check("sha256", "passed", "the model file is as it was installed")


def _check_tokens(asked: Asked, receipt: Receipt) -> Check:
    known, here = receipt.fingerprints, asked.fingerprints
    if known.get("strings") != here["strings"]:
        return Check("tokens", "noted", "not compared, since the receipt has no ids of the same strings")
    if known.get("token_ids") != here["token_ids"]:
        return Check("tokens", "failed", "llama.cpp makes other tokens of text than when the model was installed")
    return Check("tokens", "passed", "the fixed strings give the same ids as when the model was installed")


def _check_stop(model: ModelFile, asked: Asked, receipt: Receipt) -> Check:
    ids = (model.metadata.get(f"{PREFIX}{role}_token_id") for role in END_ROLES)
    ends = [id for id in ids if isinstance(id, int) and id < asked.answers.count]
    check, stops = check_stop(model, ends, asked.answers)
    if set(stops) <= set(receipt.stops):
        return check
    return Check("stop", "noted", f"a turn ends with the text {stops[0]!r}, at which replies do not stop")


def _check_weights(model: ModelFile, receipt: Receipt, threads: int) -> Verifying:
    """Rows against the source where it is as it was, else only that they are numbers."""
    source, why = yield from _source(model, receipt)
    if source is None:
        rows = Check("rows", "noted", f"not compared, since {why}")
        try:
            finite = yield from shown(check_finite(model))
        except LocalchatError as error:  # a type that ggml has no way back from
            return Check("finite", "noted", f"not looked at, since {error}"), rows
        return (*finite, rows)
    found = yield from shown(check_rows(source.tensors, Files(source.inputs), model))
    if not threads:
        return found
    try:
        return (*found, (yield from check_rebuilt(source, model, threads)))
    except LocalchatError as error:
        return (*found, Check("rebuilt", "failed", str(error)))


def _source(model: ModelFile, receipt: Receipt) -> Generator[Progress, None, tuple[Layout | None, str]]:
    """How the model came about, or why that cannot be told."""
    place = Path(receipt.source)
    if not receipt.recipe:
        return None, "the file was not made here"
    if not place.is_absolute() or not place.exists():
        return None, "the source is not on this machine"
    if any(name.startswith("base/") for name in receipt.inputs):
        return None, "it is an adapter, whose base is not recorded"
    if any(key.startswith("quantize.imatrix") for key in model.metadata):
        return None, "it was made with an importance matrix, which is not recorded"
    if why := (yield from _changed(place, receipt.inputs)):
        return None, why
    try:
        return _layout(place, receipt), ""
    except LocalchatError as error:
        return None, f"the source cannot be read: {error}"


def _changed(place: Path, inputs: Mapping[str, str]) -> Generator[Progress, None, str]:
    """Which file of the source is not as it was, in words; empty where all are."""
    paths = {name: place if place.is_file() else place / name for name in inputs}
    for name, path in paths.items():
        if not all(map(is_safe_name, PurePosixPath(name).parts)) or not path.is_file():
            return f"{name} is not there any more"
    done, total = 0, sum(path.stat().st_size for path in paths.values())
    for name, path in paths.items():
        if (yield from hashing(path, done, total)) != inputs[name]:
            return f"{name} has changed since then"
        done += path.stat().st_size
    return ""


def _layout(place: Path, receipt: Receipt) -> Layout:
    if place.is_file():
        return requantized(place, receipt.quant, allow_low_bits=True)
    return layout(read_checkpoint(place, receipt.name), receipt.quant)
