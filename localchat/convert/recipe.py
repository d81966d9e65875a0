"""Which type each tensor gets in a file of some type: llama.cpp's own mixing rules, as a table.

The rules are facts of `llama_tensor_get_type` and what it calls (llama.cpp's src/llama-quant.cpp, version 0.5.0) for
the architectures `llama` and `mistral3`; tests compare them with what `llama-quantize --dry-run` prints.
Q2_0, which that version offers too, is left out: the gguf package (0.19) has no name for it yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from localchat.convert.config import Config
from localchat.errors import LocalchatError

Type = GGMLQuantizationType
Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_0 = Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0
IQ2_S, IQ3_S, IQ3_XXS, IQ4_NL = Type.IQ2_S, Type.IQ3_S, Type.IQ3_XXS, Type.IQ4_NL

# file type: the type that most of its tensors have
BASE = {
    "F32": Type.F32, "F16": Type.F16, "BF16": Type.BF16, "Q8_0": Q8_0, "Q6_K": Q6_K,
    "Q5_K_M": Q5_K, "Q5_K_S": Q5_K, "Q5_1": Type.Q5_1, "Q5_0": Type.Q5_0,
    "Q4_K_M": Q4_K, "Q4_K_S": Q4_K, "Q4_1": Type.Q4_1, "Q4_0": Type.Q4_0, "IQ4_NL": IQ4_NL, "IQ4_XS": Type.IQ4_XS,
    "MXFP4_MOE": Type.MXFP4, "Q3_K_L": Q3_K, "Q3_K_M": Q3_K, "Q3_K_S": Q3_K,
    "IQ3_M": IQ3_S, "IQ3_S": IQ3_S, "IQ3_XS": IQ3_S, "IQ3_XXS": IQ3_XXS, "Q2_K": Q2_K, "Q2_K_S": Q2_K,
    "IQ2_M": IQ2_S, "IQ2_S": Type.IQ2_XS, "IQ2_XS": Type.IQ2_XS, "IQ2_XXS": Type.IQ2_XXS,
    "IQ1_M": Type.IQ1_M, "IQ1_S": Type.IQ1_S, "TQ2_0": Type.TQ2_0, "TQ1_0": Type.TQ1_0, "Q1_0": Type.Q1_0,
}  # fmt: skip
UNQUANTIZED = (Type.F32, Type.F16, Type.BF16)

# The first three are llama-quantize's own.
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "FP16": "F16", "FP32": "F32"}

# the type that stands in where a row is no multiple of the wanted type's block
FALLBACK = {
    Q2_K: Type.Q4_0, Q3_K: Type.Q4_0, Type.TQ1_0: Type.Q4_0, Type.TQ2_0: Type.Q4_0,
    Q4_K: Type.Q5_0, Q5_K: Type.Q5_1, Q6_K: Q8_0,
    Type.IQ1_S: IQ4_NL, Type.IQ1_M: IQ4_NL, Type.IQ2_XXS: IQ4_NL, Type.IQ2_XS: IQ4_NL, IQ2_S: IQ4_NL,
    IQ3_XXS: IQ4_NL, IQ3_S: IQ4_NL, Type.IQ4_XS: IQ4_NL,
}  # fmt: skip
OF_LAYER = re.compile(r"blk\.(?P<layer>\d{1,4})\.(?P<role>\w+)\..*")
SMALL_BLOCK = 32  # a type of blocks no larger than this has none below it but F16

# llama-quantize does not make these without an importance matrix, for they would be noise.
NEED_IMPORTANCE = (Type.IQ1_S, Type.IQ1_M, Type.IQ2_XXS, Type.IQ2_XS, IQ2_S, IQ3_XXS)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules may know of a model."""

    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    """Experts of a layer; 0 in a dense model."""
    tied: bool = False
    """Is there no output.weight, the embedding serving as the output?"""
    architecture: str = "llama"
    """llama.cpp's name of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stands: its layer (counted from 0), in which model, with or without an importance matrix."""

    layer: int
    facts: Facts
    has_imatrix: bool


Condition = Callable[[Place], bool]


def _first(part: int) -> Condition:
    return lambda place: place.layer < place.facts.layers // part


_early = _first(8)


def _middle(place: Place) -> bool:
    return not _early(place) and place.layer < 7 * place.facts.layers // 8


def _more_bits(place: Place) -> bool:
    """The first and last eighth of the layers and every third between them."""
    return not _middle(place) or (place.layer - place.facts.layers // 8) % 3 == 2


def _shared(place: Place) -> bool:
    """Do four query heads or more share one head of attn_v, so that it is small?"""
    return place.facts.heads // place.facts.kv_heads >= 4


def _mixtral(place: Place) -> bool:
    """Eight experts, beside which attention is small."""
    return place.facts.experts == 8


def _many_experts(place: Place) -> bool:
    return place.facts.experts >= 4


def _guided(place: Place) -> bool:
    return place.has_imatrix


def _unguided(place: Place) -> bool:
    return not place.has_imatrix


# Files of the lowest types have rules of their own for attention and ffn_down.
LOWEST = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M"
HIGHER = " ".join(file for file, kind in BASE.items() if file not in LOWEST.split() and kind not in UNQUANTIZED)
SPARING = "IQ3_XXS IQ3_XS IQ3_S IQ3_M Q2_K Q3_K_S Q3_K_M IQ4_NL IQ4_XS Q4_K_S Q4_K_M"

Rule = tuple[tuple[Condition, ...], GGMLQuantizationType | None]
Line = tuple[str, str, tuple[Condition, ...], GGMLQuantizationType | None]
# Role, file types, conditions that must all hold, type (None is the base type). The first line that fits decides;
# where none does, it is the base type.
LINES: tuple[Line, ...] = (
    ("attn_v", LOWEST, (_shared,), Q4_K),
    ("attn_v", LOWEST, (_many_experts,), Q4_K),
    ("attn_v", "IQ2_S IQ2_M", (), IQ3_S),
    ("attn_v", LOWEST, (), Q2_K),
    ("attn_v", HIGHER, (_mixtral,), Q8_0),
    ("attn_v", "Q2_K Q2_K_S IQ3_XXS IQ3_XS IQ3_S", (_shared,), Q4_K),
    ("attn_v", "IQ4_NL IQ4_XS", (_shared,), Q5_K),
    ("attn_v", "Q2_K", (), Q3_K),
    ("attn_v", "IQ3_XXS", (_unguided,), IQ3_S),
    ("attn_v", "Q3_K_M", (lambda place: place.layer < 2,), Q5_K),
    ("attn_v", "IQ3_M Q3_K_M", (), Q4_K),
    ("attn_v", "Q3_K_L", (), Q5_K),
    ("attn_v", "Q4_K_S", (lambda place: place.layer < 4,), Q5_K),
    ("attn_v", "Q4_K_M Q5_K_M", (_more_bits,), Q6_K),
    ("attn_k", LOWEST, (_mixtral,), Q4_K),
    ("attn_k", HIGHER, (_mixtral,), Q8_0),
    ("attn_k", "IQ3_XS", (), IQ3_XXS),
    ("attn_k", "IQ3_XXS", (), IQ2_S),
    ("attn_q", "IQ3_XS", (), IQ3_XXS),
    ("attn_q", "IQ3_XXS", (), IQ2_S),
    ("attn_output", f"{LOWEST} {SPARING}", (_mixtral,), Q5_K),
    ("attn_output", HIGHER, (_mixtral,), None),
    ("attn_output", "IQ1_S IQ1_M", (), Type.IQ2_XXS),
    ("attn_output", "IQ2_S IQ2_M IQ3_XXS", (), IQ3_S),
    ("attn_output", "Q2_K", (), Q3_K),
    ("attn_output", "IQ3_M Q3_K_M", (), Q4_K),
    ("attn_output", "Q3_K_L", (), Q5_K),
    ("ffn_down", "IQ2_S IQ2_M", (_early,), IQ3_S),
    ("ffn_down", "IQ1_S IQ1_M IQ2_XXS IQ2_XS", (_early,), Q2_K),
    ("ffn_down", "IQ3_M Q2_K_S", (_early,), Q4_K),
    ("ffn_down", "IQ3_M", (_mixtral, _more_bits), Q4_K),
    ("ffn_down", "IQ3_XXS", (_unguided, _early), Q4_K),
    ("ffn_down", "IQ3_XXS", (_unguided,), Q3_K),
    ("ffn_down", "Q2_K", (), Q3_K),
    ("ffn_down", "Q3_K_M", (_first(16),), Q5_K),
    ("ffn_down", "Q3_K_M", (), Q4_K),
    ("ffn_down", "Q3_K_L", (), Q5_K),
    ("ffn_down", "IQ4_NL IQ4_XS", (_unguided, _early), Q5_K),
    ("ffn_down", "Q4_K_S", (_early,), Q5_K),
    ("ffn_down", "Q4_K_M Q5_K_M", (_more_bits,), Q6_K),
    ("ffn_down", "Q4_0", (_guided, _early), Type.Q4_1),
    ("ffn_down", "Q5_0", (_guided, _early), Type.Q5_1),
    ("ffn_gate", "IQ3_XS", (_middle,), IQ3_XXS),
    ("ffn_up", "IQ3_XS", (_middle,), IQ3_XXS),
    ("token_embd", "IQ1_S IQ1_M IQ2_XXS IQ2_XS", (), Q2_K),
    ("token_embd", "IQ2_S IQ2_M IQ3_XXS", (), IQ3_S),
    ("token_embd", "TQ1_0 TQ2_0", (), Q4_K),
)


def _by_file_and_role(lines: tuple[Line, ...]) -> dict[tuple[str, str], list[Rule]]:
    found: dict[tuple[str, str], list[Rule]] = {}
    for role, files, conditions, kind in lines:
        for file in files.split():
            found.setdefault((file, role), []).append((conditions, kind))
    return found


RULES = _by_file_and_role(LINES)


def facts_of(config: Config) -> Facts:
    """What the rules look at, from a checkpoint's config."""
    return Facts(config.layers, config.heads, config.kv_heads, config.experts, config.tied, config.architecture)


def file_type(name: str) -> str:
    """The canonical name of a file type, such as `Q4_K_M` for `q4_k_m` or `Q4_K`. Raises LocalchatError for others."""
    found = ALIASES.get(name.upper(), name.upper())
    if found not in BASE:
        raise LocalchatError(f"{name!r} is not a type that can be made here", f"choose one of {' '.join(BASE)}")
    return found


def file_type_number(name: str) -> LlamaFileType:
    """The value of `general.file_type`."""
    return LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"]


def tensor_type(
    file: str, name: str, shape: tuple[int, ...], facts: Facts, has_imatrix: bool = False
) -> GGMLQuantizationType:
    """The type of one tensor in a file of the type `file`; `shape` is row-major, as in the checkpoint.

    Raises LocalchatError where the tensor's rows are not whole blocks and llama.cpp knows no type to stand in.
    """
    if not _may_be_quantized(name, shape):
        return Type.F32
    base = BASE[file]
    if base in UNQUANTIZED:
        return base
    return _that_fits(_wanted(file, base, name, shape, facts, has_imatrix), name, shape[-1])


def needs_importance(file: str, name: str, kind: GGMLQuantizationType) -> bool:
    """Does llama-quantize refuse to make this tensor of a file of the type `file` without its part of an imatrix?"""
    if _role(name)[0] in ("token_embd", "output"):
        return False
    return kind in NEED_IMPORTANCE or (file, kind) == ("Q2_K_S", Q2_K)


def _may_be_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """Biases, norms, other vectors and the router of experts are small and stay F32 in every file."""
    return len(shape) >= 2 and name.endswith("weight") and not name.endswith(("_norm.weight", "ffn_gate_inp.weight"))


def _wanted(
    file: str, base: GGMLQuantizationType, name: str, shape: tuple[int, ...], facts: Facts, has_imatrix: bool
) -> GGMLQuantizationType:
    role, layer = _role(name)
    if role == "output" or (role == "token_embd" and facts.tied):
        return _output_type(file, base, shape[-1])
    if file == "MXFP4_MOE":
        return base if len(shape) == 3 and shape[0] > 1 else Q8_0
    place = Place(layer, facts, has_imatrix)
    kind = next((kind for holds, kind in RULES.get((file, role), ()) if all(a(place) for a in holds)), None) or base
    # In 70B models eight heads share attn_v, so more bits for it cost almost nothing.
    is_bumped = role == "attn_v" and file not in LOWEST.split() and _is_70b(facts)
    return Q5_K if is_bumped and kind in (Q3_K, Q4_K) else kind


def _output_type(file: str, base: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    if file == "MXFP4_MOE" or base == Q8_0 or columns % GGML_QUANT_SIZES[base][0]:
        return Q8_0
    return Q5_K if file in (*LOWEST.split(), "IQ3_XXS") else Q6_K


def _is_70b(facts: Facts) -> bool:
    """Does llama.cpp take it for Llama 70B? From `load_arch_hparams` in its src/models/llama.cpp."""
    return facts.architecture == "llama" and facts.layers == 80 and facts.heads != facts.kv_heads


def _role(name: str) -> tuple[str, int]:
    """`attn_v` and 3 of `blk.3.attn_v.weight`; `output` and 0 of `output.weight`; experts are an FFN."""
    match = OF_LAYER.fullmatch(name)
    return (match["role"].removesuffix("_exps"), int(match["layer"])) if match else (name.split(".")[0], 0)


def _that_fits(kind: GGMLQuantizationType, name: str, columns: int) -> GGMLQuantizationType:
    """llama.cpp's `tensor_type_fallback`."""
    block = GGML_QUANT_SIZES[kind][0]
    if columns % block == 0:
        return kind
    if kind not in FALLBACK and block > SMALL_BLOCK:
        raise LocalchatError(
            f"the rows of {name} are {columns} wide, no multiple of the {block} that {kind.name} needs",
            "choose another type, such as Q4_K_M",
        )
    kind = FALLBACK.get(kind, kind)
    return kind if columns % GGML_QUANT_SIZES[kind][0] == 0 else Type.F16
