"""The checks of a model file that was not made here, before it is installed."""

from __future__ import annotations

from dataclasses import replace

from localchat.convert.proof.prove import Proof
from localchat.convert.proof.tokens import PREFIX, ask_about, check_added, check_bytes, check_vocabulary
from localchat.convert.proof.turns import check_renders, check_stop, fingerprint
from localchat.errors import BadFile
from localchat.gguf_file import ModelFile
from localchat.library import Check

END_ROLES = ("eos", "eot", "eom")
HINT = "choose another file, or the checkpoint that it was made from"


def proof_of_file(model: ModelFile) -> Proof:
    """What was found. It may have its ways, so what would be a failure of a file made here is a note.

    Raises BadFile where llama.cpp would end its process over it, or cannot use it.
    """
    header = Check("header", "passed", f"{len(model.tensors):,} tensors and {len(model.metadata):,} facts are sound")
    has_bytes = check_bytes(model)
    if has_bytes.is_failed:
        raise BadFile(f"{model.path.name} cannot be used: {has_bytes.detail}", HINT)
    asked = ask_about(model, {})
    ids = (model.metadata.get(f"{PREFIX}{role}_token_id") for role in END_ROLES)
    ends = [id for id in ids if isinstance(id, int) and id < asked.answers.count]
    stop, stops = check_stop(model, ends, asked.answers)
    found = (check_vocabulary(model, asked), has_bytes, check_added(model, asked, {}), check_renders(model, {}), stop)
    checks = (replace(check, verdict="noted") if check.is_failed else check for check in found)
    return Proof((header, *checks), stops, {**asked.fingerprints, "template": fingerprint(model)})
