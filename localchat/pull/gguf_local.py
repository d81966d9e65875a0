"""A model that lies in several files on this disk, installed as one."""

from __future__ import annotations

from dataclasses import replace

from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile, read_header
from localchat.plan.make import Machine, make_plan
from localchat.plan.wish import Wish
from localchat.pull.build import rebuild
from localchat.pull.events import Chosen, Pull, Ready
from localchat.pull.gguf_choice import subject_of_files, type_of
from localchat.pull.gguf_parts import joined, layout_of
from localchat.pull.gguf_proof import proof_of_file
from localchat.pull.installing import check_name, expect, path_for, recorded, unfinished_discarded
from localchat.pull.source import Source


def pull_parts(source: Source, parts: list[ModelFile], wish: Wish, machine: Machine) -> Pull:
    """Install the model of these parts, which stay where they are. Raises LocalchatError."""
    origin, quant = str(parts[0].path), type_of(parts)
    check_name(source.name, origin)
    if wish.quant not in (None, quant):
        raise LocalchatError(
            f"{parts[0].path.name} is {quant}, and parts are installed as they are",
            f"leave --quant out; then convert what was installed: localchat convert PATH OUT --type {wish.quant}",
        )
    whole = joined(parts)
    chosen = make_plan(subject_of_files({quant: whole}), machine, wish)
    yield Chosen(source.name, origin, chosen, 0, whole.file_bytes)
    with unfinished_discarded(source.name):
        out = path_for(source.name, quant)
        built = yield from rebuild(layout_of(whole), out, chosen.threads)
        built = replace(built, types={}, proof=proof_of_file(read_header(out)))
        model = recorded(source, out, quant, origin, None, built)
        expect(model, chosen)
    yield Ready(model)
