"""Tokens a second from bytes and rates: arithmetic alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType as Type

from localchat.gguf_file import ModelFile, Tensor
from localchat.llama.devices import Device
from localchat.llama.dry_run import Work
from localchat.llama.rates import Rates
from localchat.plan.facts import candidate_of, shape_of
from localchat.plan.hardware import Hardware, Memory, Processor
from localchat.plan.layout import Option, Use, Works, on_host
from localchat.plan.speed import Reads, known_rates, one_rate, predicted_rate, reads_of, tokens_per_second

GB = 1e9
CPU = Rates({"Q4_K": 40 * GB, "Q6_K": 20 * GB, "F16": 50 * GB, "kv f16": 10 * GB, "kv q8_0": 5 * GB}, 100e-6)
GPU = Rates({"Q4_K": 1000 * GB, "kv f16": 500 * GB})
FACTS = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 64, "llama.context_length": 128,
    "llama.feed_forward_length": 128, "llama.attention.head_count": 8, "llama.attention.head_count_kv": 2,
    "llama.vocab_size": 100,
}  # fmt: skip


def model(facts: dict[str, object], **tensors: tuple[Type, int]) -> ModelFile:
    made = [Tensor(name.replace("__", "."), kind, (count,), 0, count) for name, (kind, count) in tensors.items()]
    return ModelFile(Path("made-up.gguf"), {**FACTS, **facts}, tuple(made), 0, 0)


def machine(bandwidth: float | None, device_bandwidth: float | None = None) -> Hardware:
    device = Device("CUDA0", "Made-up GPU", "gpu", "CUDA", 8 << 30, 7 << 30, device_bandwidth)
    processor, memory = Processor("made up", 4, 8), Memory(16 << 30, 12 << 30)
    return Hardware("linux", processor, memory, 1 << 40, (device,), memory_bandwidth_bytes_per_second=bandwidth)


def reads(file: ModelFile, filled_tokens: int = 0, kv_type: str = "f16") -> Reads:
    """What a model file reads where all of it is in main memory."""
    shape, candidate = shape_of(file), candidate_of(file)
    nothing: Works = {(candidate.quant, "host", 64, kv_type): Work({}, 0, copies_weights=False)}
    use = on_host(shape, Option(candidate, 64, kv_type), nothing).uses[-1]
    return reads_of(shape, use, filled_tokens, kv_type)


def test_each_type_takes_its_own_time() -> None:
    reads = Reads("CPU", {"Q4_K": 4_000_000_000, "Q6_K": 1_000_000_000})
    assert predicted_rate([reads], {"CPU": CPU}) == pytest.approx(1 / (0.1 + 0.05))


def test_layers_and_the_filled_cache_cost_time_too() -> None:
    reads = Reads("CPU", {"Q4_K": 4_000_000_000}, layers=32, kv_bytes=1_000_000_000)
    assert predicted_rate([reads], {"CPU": CPU}) == pytest.approx(1 / (0.1 + 0.1 + 0.0032))


def test_a_quantized_cache_has_its_own_rate() -> None:
    reads = Reads("CPU", kv_bytes=1_000_000_000, kv_type="q8_0")
    assert predicted_rate([reads], {"CPU": CPU}) == pytest.approx(5)


def test_twice_as_many_heads_read_the_cache_twice_as_often() -> None:
    few, many = (Reads("CPU", kv_bytes=1_000_000_000, sharing=sharing) for sharing in (4, 8))
    assert predicted_rate([few], {"CPU": CPU}) == pytest.approx(2 * (predicted_rate([many], {"CPU": CPU}) or 0))


def test_devices_work_one_after_the_other() -> None:
    reads = [Reads("CUDA0", {"Q4_K": 4_000_000_000}), Reads("CPU", {"Q4_K": 1_000_000_000})]
    assert predicted_rate(reads, {"CPU": CPU, "CUDA0": GPU}) == pytest.approx(1 / (0.004 + 0.025))


@pytest.mark.parametrize(
    ("reads", "rates"),
    [
        ([Reads("CPU", {"Q4_K": 1})], {}),
        ([Reads("CPU", {"IQ3_S": 1})], {"CPU": CPU}),
        ([Reads("CPU", {"Q4_K": 1}, kv_bytes=9)], {"CPU": Rates({"Q4_K": GB})}),
        ([Reads("CPU", {"Q4_K": 1}), Reads("CUDA0", {"Q4_K": 1})], {"CPU": CPU}),
        ([Reads("CPU", {"Q4_K": 0})], {"CPU": Rates({"Q4_K": GB})}),
        ([], {"CPU": CPU}),
    ],
)
def test_nothing_is_predicted_where_a_rate_is_not_known(reads: list[Reads], rates: dict[str, Rates]) -> None:
    assert predicted_rate(reads, rates) is None


def test_a_device_that_has_nothing_to_read_needs_no_rate() -> None:
    reads = [Reads("CPU", {"Q4_K": 40_000_000_000}), Reads("CUDA0")]
    assert predicted_rate(reads, {"CPU": CPU}) == pytest.approx(1)


def test_norms_count_as_half_precision_and_so_does_a_cache_of_unknown_speed() -> None:
    rates = Rates({"F16": 50 * GB})
    assert rates.rate("F32") == rates.rate("kv q8_0") == 50 * GB
    assert rates.rate("Q4_K") is None


def test_the_best_rate_is_one_of_weights() -> None:
    assert Rates({"Q4_K": 3.0, "F16": 4.0, "kv f16": 9.0}).best == 4.0
    assert Rates().best is None


def test_one_number_stands_for_every_type() -> None:
    rates = one_rate(40 * GB)
    assert {rates.rate(kind) for kind in ("Q4_K", "IQ1_S", "F32", "kv q8_0")} == {40 * GB}
    assert one_rate(None).rate("Q4_K") is None


def test_what_was_measured_counts_before_the_one_number_of_the_facts() -> None:
    known = known_rates(machine(30 * GB, 900 * GB), {"CPU": CPU})
    assert known == {"CPU": CPU, "CUDA0": one_rate(900 * GB)}


def test_the_facts_of_another_machine_are_enough_for_a_prediction() -> None:
    uses = [Use("CUDA0", active={"Q4_K": 9_000_000_000}), Use("CPU", active={"Q6_K": 3_000_000_000})]
    shape = shape_of(model({}))
    known, half = (known_rates(machine(30 * GB, rate), {}) for rate in (900 * GB, None))
    assert tokens_per_second(shape, uses, "f16", known) == pytest.approx(1 / 0.11)
    assert tokens_per_second(shape, uses, "f16", half) is None


def test_the_embedding_is_not_read_where_there_is_an_output() -> None:
    apart = model({}, token_embd__weight=(Type.Q4_K, 1000), output__weight=(Type.Q6_K, 500))
    assert reads(apart).weights == {"Q6_K": 500}
    assert reads(model({}, token_embd__weight=(Type.Q4_K, 1000))).weights == {"Q4_K": 1000}


def test_only_the_experts_that_are_used_are_read() -> None:
    mixture = model(
        {"llama.expert_count": 8, "llama.expert_used_count": 2},
        output__weight=(Type.Q6_K, 500), blk__0__ffn_up_exps__weight=(Type.Q4_K, 800),
        blk__0__attn_q__weight=(Type.Q4_K, 100),
    )  # fmt: skip
    assert reads(mixture).weights == {"Q6_K": 500, "Q4_K": 300}


def test_the_cache_of_a_model_file_grows_with_its_tokens() -> None:
    found = reads(model({}), 100)
    assert (found.kv_bytes, found.layers, found.sharing) == (2 * 2 * 2 * 8 * 100 * 2, 2, 4)
    assert reads(model({}), 100, "q8_0").kv_bytes == found.kv_bytes * 34 // 64
