"""Several clients at once: our engine beside llama-server, with the same model, threads, slots and prompts."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import httpx2
from bench_engine import Where, engine_with
from bench_rows import Row, in_turn, paired

from localchat.engine.events import Done
from localchat.engine.process import EngineProcess
from localchat.sampling import Sampling

CLIENTS = (3, 4, 8)  # three are filled up to four where that is faster
PROMPT_TOKENS, WRITTEN_TOKENS = 64, 64
CONTEXT_TOKENS = 4096
START_SECONDS = 120.0
REST_SECONDS = 0.2  # in which the threads of who has just answered stop spinning
TEXT = "The whale swam on and the ship followed it. "


Ask = Callable[[Sequence[int]], int]
"""Answers a prompt, and says how many tokens were written."""


def client_rows(model: Path, server: Path | None, where: Where, runs: int) -> Iterator[Row]:
    """Tokens a second that all clients together are written, behind prompts that nobody has read before."""
    for clients in CLIENTS:
        with (
            engine_with(model, CONTEXT_TOKENS, where, clients) as engine,
            _server(server, model, where, clients) as address,
        ):
            asks = [partial(_ask_ours, engine), *([partial(_ask_server, address)] if address else [])]
            ours, theirs, *_ = [*_rates(asks, _prompts(engine, clients * (runs + 1)), clients), []]
        yield paired(f"write {WRITTEN_TOKENS} tokens to each of {clients}", "tokens/s", ours, theirs)


def _rates(asks: Sequence[Ask], prompts: Sequence[Sequence[int]], clients: int) -> list[list[float]]:
    """Tokens a second of each, a round for every so many prompts but the first one, which pages the weights in."""
    rounds = [prompts[start : start + clients] for start in range(0, len(prompts), clients)]
    ways = [lambda run, ask=ask: _rate(rounds[run], ask) for ask in asks]
    return [found[1:] for found in in_turn(ways, len(rounds), REST_SECONDS)]


def _prompts(engine: EngineProcess, count: int) -> list[list[int]]:
    texts = [f"{number}. " + TEXT * (PROMPT_TOKENS // 8) for number in range(count)]
    return [tokens[:PROMPT_TOKENS] for tokens in engine.tokenize(texts)]


def _rate(prompts: Sequence[Sequence[int]], ask: Ask) -> float:
    """All tokens that were written, over the time from the questions to the last answer's end."""
    with ThreadPoolExecutor(len(prompts)) as pool:
        asked = time.perf_counter()
        written = sum(pool.map(ask, prompts))
    return written / (time.perf_counter() - asked)


def _ask_ours(engine: EngineProcess, prompt: Sequence[int]) -> int:
    end = engine.loaded.special_tokens.get(engine.loaded.eos)
    bias = ((end, -100.0),) if end is not None else ()
    sampling = Sampling(temperature=0, max_tokens=WRITTEN_TOKENS, logit_bias=bias)
    with closing(engine.reply(prompt, sampling, ())) as events:
        for event in events:
            if isinstance(event, Done):
                return event.usage.completion_tokens
    raise AssertionError("a reply ends with Done")


def _ask_server(address: str, prompt: Sequence[int]) -> int:
    question = {
        "prompt": list(prompt), "n_predict": WRITTEN_TOKENS, "temperature": 0, "ignore_eos": True, "stream": True,
        "cache_prompt": False,
    }  # fmt: skip
    with httpx2.stream("POST", f"{address}/completion", json=question, timeout=START_SECONDS, trust_env=False) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: "):
                facts = json.loads(line[6:])
                if facts.get("stop"):
                    return int(facts["tokens_predicted"])
    raise AssertionError("llama-server ends with a line that says stop")


@contextmanager
def _server(program: Path | None, model: Path, where: Where, slots: int) -> Iterator[str]:
    """The address of a llama-server; empty where there is no such program."""
    if program is None:
        yield ""
        return
    port = free_port()
    command = [
        str(program), "-m", str(model), "--port", str(port), "-np", str(slots), *where.options,
        "-c", str(CONTEXT_TOKENS), "--no-webui",
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield server_ready(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def free_port() -> int:
    """One of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def server_ready(address: str) -> str:
    """The address, once a server answers there."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        try:
            if httpx2.get(f"{address}/health", trust_env=False).status_code == 200:
                return address
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError("llama-server did not start")
