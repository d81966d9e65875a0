"""What llama.cpp really takes for a model: `python real_load.py` reads cases from standard input and answers them.

A process of its own, because llama.cpp may end the one that it is in.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from localchat.child import answer
from localchat.llama.buffers import Buffers
from localchat.llama.dry_run import Case
from localchat.llama.placement import placement_of


def real_loads(cases: Sequence[Case]) -> list[list[Buffers]]:
    """The buffers of each case, loaded for real: those of the main memory are the last."""
    question = json.dumps([{"path": str(case.path), "placement": asdict(case.placement)} for case in cases])
    done = subprocess.run(
        [sys.executable, __file__], input=f'{{"cases": {question}}}', capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return [[Buffers(**fields) for fields in buffers] for buffers in found["buffers"]]


def _loaded(case: dict[str, Any]) -> list[dict[str, Any]]:
    from localchat.llama.context import Context
    from localchat.llama.log import LOG
    from localchat.llama.model import Model

    LOG.forget()
    placement = placement_of(case["placement"])
    model = Model(Path(case["path"]), placement)
    Context(model, placement).close()
    buffers = [asdict(found) for found in LOG.buffers(placement.devices)]
    model.close()
    return buffers


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    from localchat.llama.model import start

    start()
    return {"buffers": [_loaded(case) for case in question["cases"]]}


if __name__ == "__main__":
    answer(_reply)
