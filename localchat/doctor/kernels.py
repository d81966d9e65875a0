"""Our own quantizers: are they built, and can this processor run them?"""

from __future__ import annotations

from collections.abc import Callable

from localchat.doctor.finding import Finding, command
from localchat.kernels.library import Kernels, build_command, kernels


def check_kernels(find: Callable[[], Kernels] = kernels) -> list[Finding]:
    """What makes quantized files here?"""
    found = find()
    if found.lanes:
        return [Finding("quantizers", "ok", f"ours are built and take {found.lanes[0]} blocks at a time here")]
    sentence = f"ggml's own serve, which give the same files several times slower: {found.reason}"
    return [Finding("quantizers", "note", sentence, command(*build_command()) if found.can_be_built else "")]
