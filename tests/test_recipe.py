"""Which type each tensor gets: as llama-quantize does it, for full-size models and file types."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused, sound_or_refused

from localchat.convert.recipe import BASE, Facts, file_type, file_type_number, needs_importance, tensor_type
from localchat.errors import LocalchatError
from localchat.llama.quantize import row_bytes

DATA = Path(__file__).parent / "data"
# What `llama-quantize --dry-run` says of full-size models: per shape and file type the type of each tensor, and the
# bytes of all of them.
GOLDEN: dict[str, Any] = json.loads((DATA / "recipes.golden.json").read_text())
CASES = [(shape, file) for shape, recipes in GOLDEN["recipes"].items() for file in recipes]
# What it says of small models of many shapes in all file types, as hashes: see `digest`.
MIXING: dict[str, Any] = json.loads((DATA / "mixing.golden.json").read_text())

Shapes = dict[str, tuple[int, ...]]
MISTRAL = Facts(layers=32, heads=32, kv_heads=8)


def facts_of(shape: dict[str, Any]) -> Facts:
    """What the rules may know of a golden's model."""
    return Facts(
        shape["layers"], shape["heads"], shape["kv"], shape.get("experts", 0), shape.get("tied", False),
        shape.get("arch", "llama"),
    )  # fmt: skip


def tensors(shape: dict[str, Any]) -> Shapes:
    """Name and shape of each tensor of a golden's model, written down apart from the package's own table."""
    hidden, ffn, experts = shape["hidden"], shape["ffn"], shape.get("experts", 0)
    kv, rows = hidden // shape["heads"] * shape["kv"], shape.get("rows", 64)
    stack, suffix = ((experts,), "_exps") if experts else ((), "")
    layer: Shapes = {
        "attn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden),
        "attn_output": (hidden, hidden), "ffn_norm": (hidden,),
        **({"ffn_gate_inp": (experts, hidden)} if experts else {}),
        f"ffn_gate{suffix}": (*stack, ffn, hidden), f"ffn_up{suffix}": (*stack, ffn, hidden),
        f"ffn_down{suffix}": (*stack, hidden, ffn),
    }  # fmt: skip
    found: Shapes = {"token_embd.weight": (rows, hidden), "output_norm.weight": (hidden,)}
    if not shape.get("tied"):
        found["output.weight"] = (rows, hidden)
    for number in range(shape["layers"]):
        found |= {f"blk.{number}.{role}.weight": size for role, size in layer.items()}
    return found


def digest(file: str, shape: dict[str, Any], has_imatrix: bool) -> str:
    """A hash of a recipe: `NAME TYPE` in lines; `!` follows where it cannot be made without an importance matrix.

    The golden has two for a shape and a type where an importance matrix changes something, else one, or `refused`.
    It was made by writing a GGUF header for each shape with `gguf.GGUFWriter` (all F32; the keys of the shape, 64
    rows of vocabulary), extending the file with zeros to the size that its header says, running
    `llama-quantize [--imatrix FILE] --dry-run MODEL TYPE` and taking name and type from each line of its output.
    """
    facts, wanted = facts_of(shape), tensors(shape)
    try:
        types = {name: tensor_type(file, name, size, facts, has_imatrix) for name, size in wanted.items()}
    except LocalchatError:
        return "refused"
    text = "\n".join(f"{name} {kind.name}" for name, kind in types.items())
    needy = not has_imatrix and any(needs_importance(file, name, kind) for name, kind in types.items())
    return hashlib.sha256(text.encode()).hexdigest()[:12] + "!" * needy


def by_layer(text: str, layers: int) -> list[str]:
    """The type in each layer, of `Q4_K` or `0-3 Q6_K, 4 Q4_K, …`."""
    if " " not in text:
        return [text] * layers
    found: list[str] = []
    for part in text.split(", "):
        first, last, kind = re.fullmatch(r"(\d+)(?:-(\d+))? (\w+)", part).groups()  # type: ignore[union-attr]
        found += [kind] * (int(last or first) - int(first) + 1)
    return found


@pytest.mark.parametrize("shape", MIXING["shapes"])
def test_every_shape_in_every_type_with_and_without_an_importance_matrix(shape: str) -> None:
    wanted = {file: text.split() for file, text in MIXING["types"][shape].items()}
    facts = MIXING["shapes"][shape]
    assert {file: digest(file, facts, has_imatrix=False) for file in BASE} == {f: text[0] for f, text in wanted.items()}
    assert {file: digest(file, facts, has_imatrix=True) for file in BASE} == {f: text[-1] for f, text in wanted.items()}


@pytest.mark.parametrize(("shape", "file"), CASES)
def test_every_tensor_has_the_type_that_llama_quantize_gives_it(shape: str, file: str) -> None:
    facts, wanted = facts_of(GOLDEN["shapes"][shape]), GOLDEN["recipes"][shape][file]
    types: dict[str, list[str]] = {}
    for name, size in tensors(GOLDEN["shapes"][shape]).items():
        if len(size) > 1 and "ffn_gate_inp" not in name:
            role = re.sub(r"blk\.\d+\.", "", name)
            types.setdefault(role, []).append(tensor_type(file, name, size, facts).name)
    assert types == {role: by_layer(text, len(types[role])) for role, text in wanted.items()}


@pytest.mark.parametrize(("shape", "file"), CASES)
def test_all_tensors_have_the_bytes_that_llama_quantize_gives_them(shape: str, file: str) -> None:
    facts = facts_of(GOLDEN["shapes"][shape])
    total = 0
    for name, size in tensors(GOLDEN["shapes"][shape]).items():
        count = row_bytes(tensor_type(file, name, size, facts), size[-1]) * math.prod(size[:-1])
        total += -(-count // 32) * 32
    assert total == GOLDEN["total_bytes"][shape][file]


def test_the_goldens_cover_every_type_and_every_branch_of_shapes() -> None:
    assert {shape for shape, _ in CASES} == set(GOLDEN["shapes"])
    hashes = [entry for types in MIXING["types"].values() for entry in types.values()]
    assert any(" " in entry for entry in hashes)
    assert any("!" in entry for entry in hashes)
    assert "refused" in hashes


@pytest.mark.parametrize("file", BASE)
def test_vectors_norms_and_the_router_of_experts_stay_f32_in_every_file(file: str) -> None:
    facts = Facts(layers=2, heads=4, kv_heads=2, experts=8)
    small: Shapes = {
        "output_norm.weight": (256,), "blk.0.attn_norm.weight": (256,), "blk.1.ffn_gate_inp.weight": (8, 256),
        "blk.0.attn_q.bias": (256,), "rope_freqs.weight": (32,),
    }  # fmt: skip
    assert {tensor_type(file, name, size, facts) for name, size in small.items()} == {Type.F32}


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(BASE)), st.integers(1, 600), st.sampled_from(["output", "token_embd", "blk.3.attn_v"]))
def test_every_row_is_a_whole_number_of_blocks(file: str, columns: int, name: str) -> None:
    with sound_or_refused():
        kind = tensor_type(file, f"{name}.weight", (4, columns), MISTRAL)
        assert columns % GGML_QUANT_SIZES[kind][0] == 0


@pytest.mark.parametrize(
    ("columns", "kind"),
    [(256, Type.Q4_K), (288, Type.Q5_0), (300, Type.F16)],
)
def test_a_row_that_does_not_fit_gets_the_next_type_that_does(columns: int, kind: Type) -> None:
    assert tensor_type("Q4_K_M", "blk.9.ffn_up.weight", (4, columns), MISTRAL) == kind


def test_a_row_for_which_llama_cpp_has_no_type_is_refused_with_its_width() -> None:
    with refused("blk.9.ffn_up.weight", "288 wide", "Q1_0"):
        tensor_type("Q1_0", "blk.9.ffn_up.weight", (4, 288), MISTRAL)


@pytest.mark.parametrize(
    ("file", "name", "kind", "needs"),
    [
        ("IQ2_XXS", "blk.0.ffn_up.weight", Type.IQ2_XXS, True),
        ("IQ2_XXS", "blk.0.attn_v.weight", Type.Q4_K, False),
        ("IQ2_XXS", "blk.0.ffn_up.weight", Type.IQ4_NL, False),
        ("IQ3_XXS", "blk.0.ffn_up_exps.weight", Type.IQ3_XXS, True),
        ("IQ3_XS", "blk.0.attn_k.weight", Type.IQ3_XXS, True),
        ("IQ3_S", "blk.0.ffn_up.weight", Type.IQ3_S, False),
        ("Q2_K_S", "blk.0.ffn_up.weight", Type.Q2_K, True),
        ("Q2_K_S", "token_embd.weight", Type.Q2_K, False),
        ("Q2_K", "blk.0.ffn_up.weight", Type.Q2_K, False),
    ],
)
def test_only_very_low_types_need_an_importance_matrix_and_only_in_layers(
    file: str, name: str, kind: Type, needs: bool
) -> None:
    assert needs_importance(file, name, kind) is needs


@pytest.mark.parametrize("text", ["Q4_K_M", "q4_k_m", "Q4_k_M", "q4_k"])
def test_a_file_type_is_known_in_any_case(text: str) -> None:
    assert file_type(text) == "Q4_K_M"


@pytest.mark.parametrize(("text", "file"), [("q3_k", "Q3_K_M"), ("Q5_K", "Q5_K_M"), ("fp16", "F16"), ("FP32", "F32")])
def test_a_short_name_stands_for_the_type_that_llama_quantize_makes_of_it(text: str, file: str) -> None:
    assert file_type(text) == file


@pytest.mark.parametrize("text", ["", "Q4", "Q2_0", "NVFP4", "COPY", "Q4_K_M ", "auto"])
def test_an_unknown_file_type_is_refused_with_those_there_are(text: str) -> None:
    with refused("not a type", repr(text)):
        file_type(text)


@pytest.mark.parametrize(
    ("file", "number"), [("F32", 0), ("F16", 1), ("BF16", 32), ("Q8_0", 7), ("Q4_K_M", 15), ("IQ4_XS", 30)]
)
def test_file_types_have_the_numbers_of_llama_cpp(file: str, number: int) -> None:
    assert file_type_number(file) == number


def test_every_file_type_has_a_number_of_its_own() -> None:
    assert len({file_type_number(file) for file in BASE}) == len(BASE)
