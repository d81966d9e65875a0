"""Predicted against actual tokens per second, for types that differ in what a CPU has to do for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bench_engine import CONTEXT_TOKENS, PROMPT_TOKENS, WRITTEN_TOKENS, Where, engine_alone, prompts, reply
from bench_rows import PREDICTIONS, Row

from localchat.gguf_file import read_header
from localchat.llama.bandwidth import TYPES, measure
from localchat.llama.dry_run import Work
from localchat.llama.placement import HOST
from localchat.plan.detect import usable_cores
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.layout import Option, WorkKey, on_host
from localchat.plan.speed import predicted_rate, reads_of

SPEED_TYPES = ("Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M")


def speed_rows(models: Iterable[Path], runs: int) -> Iterator[Row]:
    """For each model file the rate of writing, predicted from rates measured right before each run, and actual.

    Of both the best run counts: other programs can only make them slower, and do not hit both alike.
    """
    threads = usable_cores()
    for path in models:
        model = read_header(path)
        option = Option(candidate_of(model), CONTEXT_TOKENS, "f16")
        nothing: dict[WorkKey, Work] = {(model.quant, "host", CONTEXT_TOKENS, "f16"): Work({}, 0, copies_weights=False)}
        use = on_host(shape_of(model), option, nothing).uses[-1]
        reads = reads_of(shape_of(model), use, PROMPT_TOKENS + WRITTEN_TOKENS // 2, "f16")
        predicted, actual = [], []
        with engine_alone(path, Where(threads)) as engine:
            texts = prompts(engine, runs + 1)
            reply(engine, texts.pop())  # the first one pages the weights in
            for text in texts:
                rates, _is_calm = measure(HOST, threads, sorted({*TYPES, *reads.weights}))
                predicted.append(predicted_rate([reads], {HOST: rates}) or 0.0)
                actual.append(reply(engine, text).tokens_per_second)
        name = f"{model.parameters / 1e6:,.0f} M weights as {model.quant}"
        yield Row(name, "tokens/s", max(predicted), max(actual), max(predicted) / max(actual), PREDICTIONS)
