"""llama.cpp asked as plainly as possible, to compare the engine with: `python engine_oracle.py MODEL`.

Reads one JSON object a line from standard input and answers each on standard output. A process of its own, because
llama.cpp may end the one that it is in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTEXT = 512


def ask(model: Path, questions: list[dict[str, Any]]) -> list[list[int]]:
    """The tokens that llama.cpp answers each question with."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    answer = subprocess.run(
        [sys.executable, __file__, str(model)], input=lines, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def whole_text(model: Path, texts: list[str], *, add_bos: bool) -> list[list[int]]:
    """The ids of whole texts, with special tokens read as such."""
    return ask(model, [{"text": text, "add_bos": add_bos} for text in texts])


def greedy(model: Path, prompt: list[int], count: int, repeat_penalty: float = 1.0) -> list[int]:
    """The likeliest continuation, one token decoded at a time; ends where the model ends its reply."""
    return ask(model, [{"prompt": prompt, "count": count, "repeat_penalty": repeat_penalty}])[0]


class Oracle:
    """A model in this process."""

    def __init__(self, path: str) -> None:
        from llama_cpp import llama_cpp

        self.cpp = llama_cpp
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def ids(self, text: str, add_bos: bool) -> list[int]:
        data = text.encode()
        room = (self.cpp.llama_token * (len(data) + 2))()
        return list(room[: self.cpp.llama_tokenize(self.vocab, data, len(data), room, len(room), add_bos, True)])

    def greedy(self, prompt: list[int], count: int, repeat_penalty: float) -> list[int]:
        parameters = self.cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_threads = CONTEXT, 1
        context = self.cpp.llama_init_from_model(self.model, parameters)
        for token in prompt:
            self.decode(context, token)
        reply: list[int] = []
        while len(reply) < count:
            reply.append(self.likeliest(context, reply, repeat_penalty))
            if self.cpp.llama_vocab_is_eog(self.vocab, reply[-1]):
                break
            self.decode(context, reply[-1])
        return reply

    def decode(self, context: Any, token: int) -> None:
        one = (self.cpp.llama_token * 1)(token)
        if self.cpp.llama_decode(context, self.cpp.llama_batch_get_one(one, 1)):
            raise SystemExit("llama_decode failed")

    def likeliest(self, context: Any, reply: list[int], repeat_penalty: float) -> int:
        count = self.cpp.llama_vocab_n_tokens(self.vocab)
        logits = self.cpp.llama_get_logits_ith(context, -1)[:count]
        for token in set(reply[-64:]):
            logits[token] = logits[token] / repeat_penalty if logits[token] > 0 else logits[token] * repeat_penalty
        return max(range(count), key=logits.__getitem__)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    oracle = Oracle(sys.argv[1])
    for line in sys.stdin:
        question = json.loads(line)
        method = oracle.ids if "text" in question else oracle.greedy
        print(json.dumps(method(**question)), file=answers, flush=True)


if __name__ == "__main__":
    main()
