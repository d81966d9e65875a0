"""The sampler asked without an engine around it: `python sampled.py MODEL` answers questions, one JSON object a line.

A process of its own, because llama.cpp may end the one that it is in; it stays for the tests that follow. What numpy
makes of the same logits stands beside each answer.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT = 1024
OPEN = ExitStack()
atexit.register(OPEN.close)


def ask(model: Path, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers: `reply` to {prompt, count, sampling}, or which of {texts} the {grammar} accepts."""
    child, log = _bench(model)
    return [_answer(child, log, question) for question in questions]


def _answer(child: subprocess.Popen[str], log: Path, question: dict[str, Any]) -> dict[str, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    print(json.dumps(question), file=child.stdin, flush=True)
    if not (line := child.stdout.readline()):
        _bench.cache_clear()  # the next test has another one
        raise AssertionError(log.read_text(errors="replace")[-2000:])
    answer: dict[str, Any] = json.loads(line)
    return answer


@cache
def _bench(model: Path) -> tuple[subprocess.Popen[str], Path]:
    """The process that has this model, and the file of what it says beside its answers."""
    log = Path(OPEN.enter_context(tempfile.TemporaryDirectory())) / "log"
    command = [sys.executable, __file__, str(model)]
    with log.open("wb") as errors:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    return OPEN.enter_context(child), log


def accepted(model: Path, grammar: str, *texts: str) -> list[bool]:
    """Which of the texts are whole replies that the grammar allows?"""
    found: list[bool] = ask(model, {"grammar": grammar, "texts": texts})[0]["accepted"]
    return found


class Bench:
    """A model in this process."""

    def __init__(self, path: str) -> None:
        from llama_cpp import llama_cpp

        from localchat.llama.model import Model, start
        from localchat.llama.placement import Placement

        self.cpp = llama_cpp
        start()
        self.model = Model(Path(path), Placement(CONTEXT, 1, 512, "f16"))
        self.ends = [token for token in range(self.model.vocabulary) if self.model.is_end(token)]

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        from localchat.errors import LocalchatError

        try:
            return self.texts(**question) if "texts" in question else self.reply(**question)
        except LocalchatError as error:
            return {"error": str(error)}

    def texts(self, grammar: str, texts: list[str]) -> dict[str, Any]:
        return {"accepted": [self._accepts(grammar, text) for text in texts]}

    def _accepts(self, grammar: str, text: str) -> bool:
        from localchat.llama.constraint import Constraint

        constraint = Constraint(self.model, grammar)
        for token in self.model.tokenize(text):
            if not constraint.allows(token):
                return False
            constraint.accept(token)
        return any(constraint.allows(end) for end in self.ends)

    def reply(self, prompt: str, count: int, sampling: dict[str, Any]) -> dict[str, Any]:
        from localchat.llama.sampler import Sampler
        from localchat.sampling import sampling_of

        parameters = self.cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = CONTEXT, 1, 1
        self.context = self.cpp.llama_init_from_model(self.model.handle, parameters)
        self._decode(*self.model.tokenize(prompt, special=True))
        with Sampler(self.model, sampling_of(sampling)) as sampler:
            found = self._write(sampler, sampling_of(sampling), count)
        self.cpp.llama_free(self.context)
        return found

    def _write(self, sampler: Any, sampling: Any, count: int) -> dict[str, Any]:
        tokens: list[int] = []
        digits = self._digits()
        chain = self._by_hand(sampling)
        found: dict[str, list[Any]] = {
            "by_hand": [],
            "best": [],
            "best_digit": [],
            "typical": [],
            "told": [],
            "logprobs": [],
        }
        while len(tokens) < count:
            logits = np.ctypeslib.as_array(self.cpp.llama_get_logits_ith(self.context, -1), (self.model.vocabulary,))
            changed = self._changed(logits.astype(np.float32), tokens, sampling)
            found["best"].append(int(changed.argmax()))
            found["best_digit"].append(int(digits[changed[digits].argmax()]))
            found["typical"].append(typical(changed, sampling.typical_p) if sampling.typical_p < 1 else [])
            logprobs = np.log(softmax(logits))
            found["by_hand"].append(self.cpp.llama_sampler_sample(chain, self.context, -1))
            tokens.append(sampler.sample(self.context, -1))
            if sampling.logprobs is not None:
                told = sampler.probabilities(self.context, -1, tokens[-1])
                found["told"].append([told.token, told.logprob, told.likeliest])
                order = np.argsort(-logprobs, kind="stable")[: sampling.logprobs]
                found["logprobs"].append([logprobs[tokens[-1]], [[int(one), logprobs[one]] for one in order]])
            if self.model.is_end(tokens[-1]):
                break
            self._decode(tokens[-1])
        pieces = b"".join(self.model.piece(token) for token in tokens)
        is_ended = self.model.is_end(tokens[-1])
        return {"tokens": tokens, "text": pieces.decode("utf-8", "replace"), "is_ended": is_ended, **found}

    def _by_hand(self, sampling: Any) -> Any:
        """llama.cpp's chain in the order of its own programs, without what has no place at temperature 0."""
        cpp, count = self.cpp, self.model.vocabulary
        chain = cpp.llama_sampler_chain_init(cpp.llama_sampler_chain_default_params())
        penalties = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
        for part in (
            cpp.llama_sampler_init_penalties(count, 64, *penalties),
            cpp.llama_sampler_init_top_k(sampling.top_k),
            cpp.llama_sampler_init_typical(sampling.typical_p, 1),
            cpp.llama_sampler_init_top_p(sampling.top_p, 1),
            cpp.llama_sampler_init_min_p(sampling.min_p, 1),
            cpp.llama_sampler_init_temp(sampling.temperature),
            cpp.llama_sampler_init_dist(sampling.seed or 0),
        ):
            cpp.llama_sampler_chain_add(chain, part)
        return chain

    def _changed(self, logits: Any, tokens: list[int], sampling: Any) -> Any:
        """The logits with bias and penalties, as the literature has them."""
        for token, bias in sampling.logit_bias:
            logits[token] += bias
        window = tokens[-64:]
        for token in set(window):
            value = logits[token]
            value = value * sampling.repeat_penalty if value <= 0 else value / sampling.repeat_penalty
            logits[token] = value - window.count(token) * sampling.frequency_penalty - sampling.presence_penalty
        return logits

    def _digits(self) -> Any:
        return np.array([self.model.tokenize(sign)[-1] for sign in "0123456789"])

    def _decode(self, *tokens: int) -> None:
        array = (self.cpp.llama_token * len(tokens))(*tokens)
        if self.cpp.llama_decode(self.context, self.cpp.llama_batch_get_one(array, len(tokens))):
            raise SystemExit("llama_decode failed")


def softmax(logits: Any) -> Any:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    return powers / powers.sum()


def typical(logits: Any, share: float) -> list[int]:
    """The locally typical tokens, and one more in case of rounding (Meister et al. 2022)."""
    chances = softmax(logits)
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(chances)
    entropy = float(np.nansum(chances * surprise))
    order = np.argsort(np.abs(surprise - entropy), kind="stable")
    count = int(np.searchsorted(np.cumsum(chances[order]), share)) + 2
    return [int(token) for token in order[:count]]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    bench = Bench(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(bench.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
