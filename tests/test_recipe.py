"""Which type each tensor gets: as llama-quantize does it, for full-size models and file types."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES
from gguf.constants import GGMLQuantizationType as Type
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import refused

from localchat.convert.config import Config
from localchat.convert.names import Target, targets
from localchat.convert.recipe import BASE, file_type, file_type_number, tensor_type
from localchat.convert.write import weights_bytes

# What `llama-quantize --dry-run` says: per shape and file type the type of each tensor, and the bytes of all of them.
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "recipes.golden.json").read_text())
CASES = [(shape, file) for shape, recipes in GOLDEN["recipes"].items() for file in recipes if file in BASE]


def config_of(shape: str) -> Config:
    """The config of one of the golden's models."""
    facts = GOLDEN["shapes"][shape]
    return Config(
        architecture="LlamaForCausalLM", layers=facts["layers"], hidden=facts["hidden"], feed_forward=facts["ffn"],
        heads=facts["heads"], kv_heads=facts["kv"], head_dim=facts["hidden"] // facts["heads"],
        vocabulary=facts["rows"], context=4096, norm_epsilon=1e-5, rope_base=1e4, tied=facts.get("tied", False),
        token_ids={},
    )  # fmt: skip


def by_layer(text: str, layers: int) -> list[str]:
    """The type in each layer, of `Q4_K` or `0-3 Q6_K, 4 Q4_K, …`."""
    if " " not in text:
        return [text] * layers
    found: list[str] = []
    for part in text.split(", "):
        first, last, kind = re.fullmatch(r"(\d+)(?:-(\d+))? (\w+)", part).groups()  # type: ignore[union-attr]
        found += [kind] * (int(last or first) - int(first) + 1)
    return found


@pytest.mark.parametrize(("shape", "file"), CASES)
def test_every_tensor_has_the_type_that_llama_quantize_gives_it(shape: str, file: str) -> None:
    config, wanted = config_of(shape), GOLDEN["recipes"][shape][file]
    types: dict[str, list[str]] = {}
    for target in targets(config):
        if len(target.shape) == 2:
            role = re.sub(r"blk\.\d+\.", "", target.name)
            types.setdefault(role, []).append(tensor_type(file, target, config).name)
    assert types == {role: by_layer(text, len(types[role])) for role, text in wanted.items()}


@pytest.mark.parametrize(("shape", "file"), CASES)
def test_all_tensors_have_the_bytes_that_llama_quantize_gives_them(shape: str, file: str) -> None:
    config = config_of(shape)
    wanted = targets(config)
    types = [tensor_type(file, target, config) for target in wanted]
    assert weights_bytes(wanted, types) == GOLDEN["total_bytes"][shape][file]


def test_the_golden_covers_every_type_that_mixes_others() -> None:
    assert {file for _, file in CASES} == set(BASE) - {"F32", "F16", "BF16"}
    assert {shape for shape, _ in CASES} == set(GOLDEN["shapes"])


@pytest.mark.parametrize("file", ["F32", "F16", "BF16"])
def test_unquantized_files_keep_vectors_in_f32(file: str) -> None:
    config = config_of("mistral-7b")
    for target in targets(config):
        assert tensor_type(file, target, config).name == (file if len(target.shape) == 2 else "F32")


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(BASE)), st.integers(1, 600), st.sampled_from(["output", "token_embd", "blk.3.attn_v"]))
def test_every_row_is_a_whole_number_of_blocks(file: str, columns: int, name: str) -> None:
    kind = tensor_type(file, Target(f"{name}.weight", "source", (4, columns)), config_of("mistral-7b"))
    assert columns % GGML_QUANT_SIZES[kind][0] == 0


@pytest.mark.parametrize(
    ("columns", "kind"),
    [(256, Type.Q4_K), (288, Type.Q5_0), (300, Type.F16)],
)
def test_a_row_that_does_not_fit_gets_the_next_type_that_does(columns: int, kind: Type) -> None:
    target = Target("blk.0.ffn_up.weight", "source", (4, columns))
    assert tensor_type("Q4_K_M", target, config_of("mistral-7b")) == kind


@pytest.mark.parametrize("text", ["Q4_K_M", "q4_k_m", "Q4_k_M"])
def test_a_file_type_is_known_in_any_case(text: str) -> None:
    assert file_type(text) == "Q4_K_M"


@pytest.mark.parametrize("text", ["", "Q4", "Q4_K", "IQ2_XXS", "Q4_K_M ", "auto"])
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
