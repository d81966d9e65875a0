"""Mixtral: experts that lie in any order and in any file become one tensor, and the router keeps its precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from own_layout import same, values
from tiny import CONFIG, Weights, checkpoint, refused, shard, stored, weights

from localchat.convert.checkpoint import read_checkpoint
from localchat.convert.layout import layout

MIXTRAL = {**CONFIG, "architectures": ["MixtralForCausalLM"], "num_local_experts": 3, "num_experts_per_tok": 2}
MOE = "model.layers.0.block_sparse_moe"
PARTS = {"gate": "w1", "down": "w2", "up": "w3"}


def mixture() -> Weights:
    """The small checkpoint with three experts in place of its one feed-forward network."""
    random = np.random.default_rng(5)
    tensors = {name: array for name, array in weights().items() if ".mlp." not in name}
    tensors[f"{MOE}.gate.weight"] = random.random((3, 64), np.float32)
    for number in range(3):
        for part, shape in (("w1", (96, 64)), ("w2", (64, 96)), ("w3", (96, 64))):
            whole = random.integers(-64, 65, shape) / 32  # few bits, so that every type holds them
            tensors[f"{MOE}.experts.{number}.{part}.weight"] = whole.astype(np.float32)
    return tensors


def folder_of(folder: Path, tensors: Weights, order: Sequence[str] | None = None, shards: int = 1) -> Path:
    """A Mixtral checkpoint with its tensors in this order, spread over the files like cards."""
    checkpoint(folder, MIXTRAL, tensors={})
    (folder / "model.safetensors").unlink()
    names = list(tensors) if order is None else list(order)
    for number in range(shards):
        own = {name: tensors[name] for name in names[number::shards]}
        (folder / f"model-{number + 1:05}-of-{shards:05}.safetensors").write_bytes(shard(own))
    return folder


def stacked(tensors: Weights, part: str) -> NDArray[Any]:
    """One part of every expert, in the order of their numbers."""
    return np.stack([tensors[f"{MOE}.experts.{number}.{part}.weight"] for number in range(3)])


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_experts_are_stacked_by_number_wherever_they_lie(order: str, shards: int, tmp_path: Path) -> None:
    tensors = mixture()
    names = sorted(tensors, reverse=order == "backward")
    if order == "shuffled":
        names = [str(name) for name in np.random.default_rng(1).permutation(names)]
    found = values(read_checkpoint(folder_of(tmp_path / "moe", tensors, names, shards), "x"))
    for name, part in PARTS.items():
        np.testing.assert_array_equal(found[f"blk.0.ffn_{name}_exps.weight"], stacked(tensors, part), err_msg=name)


def test_the_second_matrix_goes_down_and_the_third_up(tmp_path: Path) -> None:
    found = values(read_checkpoint(folder_of(tmp_path / "moe", mixture()), "x"))
    assert found["blk.0.ffn_down_exps.weight"].shape == (3, 64, 96)
    assert found["blk.0.ffn_up_exps.weight"].shape == found["blk.0.ffn_gate_exps.weight"].shape == (3, 96, 64)


@pytest.mark.parametrize("file", ["F16", "BF16", "Q8_0", "Q4_K_M"])
def test_the_router_stays_in_32_bits(file: str, tmp_path: Path) -> None:
    types = layout(read_checkpoint(folder_of(tmp_path / "moe", mixture()), "x"), file).types
    assert types["blk.0.ffn_gate_inp.weight"] == "F32"
    assert types["blk.0.ffn_gate_exps.weight"] != "F32"


@pytest.mark.parametrize("part", ["experts.0.w1", "experts.1.w2", "experts.2.w3", "gate"])
def test_an_expert_or_router_that_is_missing_is_named(part: str, tmp_path: Path) -> None:
    tensors = mixture()
    del tensors[f"{MOE}.{part}.weight"]
    with refused(f"{MOE}.{part}.weight", "missing"):
        read_checkpoint(folder_of(tmp_path / "moe", tensors), "x")


def test_an_expert_too_many_is_named(tmp_path: Path) -> None:
    tensors = mixture()
    tensors[f"{MOE}.experts.3.w1.weight"] = tensors[f"{MOE}.experts.0.w1.weight"]
    with refused(f"{MOE}.experts.3.w1.weight"):
        read_checkpoint(folder_of(tmp_path / "moe", tensors), "x")


def test_an_expert_of_another_shape_is_named(tmp_path: Path) -> None:
    tensors = mixture()
    tensors[f"{MOE}.experts.1.w2.weight"] = tensors[f"{MOE}.experts.1.w2.weight"].T.copy()
    with refused(f"{MOE}.experts.1.w2.weight", "(96, 64)"):
        read_checkpoint(folder_of(tmp_path / "moe", tensors), "x")


def fused(tensors: Weights) -> Weights:
    """The weights as transformers 5 keeps them: all experts of a layer in one tensor, gate above up."""
    found = {name: array for name, array in tensors.items() if "block_sparse_moe" not in name}
    gate_up = np.concatenate([stacked(tensors, "w1"), stacked(tensors, "w3")], axis=1)
    found["model.layers.0.mlp.experts.gate_up_proj"] = gate_up
    found["model.layers.0.mlp.experts.down_proj"] = stacked(tensors, "w2")
    return found | {"model.layers.0.mlp.gate.weight": tensors[f"{MOE}.gate.weight"]}


def test_experts_in_one_tensor_are_the_same_model(tmp_path: Path) -> None:
    tensors = mixture()
    found = values(read_checkpoint(folder_of(tmp_path / "fused", fused(tensors)), "x"))
    same(found, values(read_checkpoint(folder_of(tmp_path / "apart", tensors), "x")))


@pytest.mark.parametrize(
    "shape", [(1 << 20, 2, 1), (3, 191, 64), (4, 192, 64), (2, 192, 64), (3, 192, 32), (3, 192), (0, 192, 64)], ids=str
)
def test_experts_in_one_tensor_of_another_shape_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = fused(mixture()) | {"model.layers.0.mlp.experts.gate_up_proj": np.zeros(shape, np.float16)}
    with refused("model.layers.0."):
        read_checkpoint(folder_of(tmp_path / "moe", tensors), "x")


def test_experts_of_several_types_are_widened_each_in_its_own_way(tmp_path: Path) -> None:
    tensors, mixed = mixture(), mixture()
    for number, dtype in enumerate(("BF16", "F16")):
        for part in PARTS.values():
            name = f"{MOE}.experts.{number}.{part}.weight"
            mixed[name] = stored(mixed[name], dtype)
    found = values(read_checkpoint(folder_of(tmp_path / "moe", mixed), "x"))
    for name, part in PARTS.items():
        np.testing.assert_array_equal(found[f"blk.0.ffn_{name}_exps.weight"], stacked(tensors, part))
