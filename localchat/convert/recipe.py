"""Which type each tensor gets in a file of some type: llama.cpp's own mixing rules, as a table.

The rules are facts of llama.cpp's `llama_tensor_get_type` (src/llama-quant.cpp, version 0.5.0) for files made
without an importance matrix; tests compare them with what `llama-quantize --dry-run` prints for full-size models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from localchat.convert.config import Config
from localchat.convert.names import Target
from localchat.errors import LocalchatError

Type = GGMLQuantizationType
Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_0 = Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q8_0

# file type: the type that most of its tensors have
BASE = {
    "F32": Type.F32, "F16": Type.F16, "BF16": Type.BF16, "Q8_0": Q8_0, "Q6_K": Q6_K,
    "Q5_K_M": Q5_K, "Q5_K_S": Q5_K, "Q5_1": Type.Q5_1, "Q5_0": Type.Q5_0,
    "Q4_K_M": Q4_K, "Q4_K_S": Q4_K, "Q4_1": Type.Q4_1, "Q4_0": Type.Q4_0, "IQ4_NL": Type.IQ4_NL, "IQ4_XS": Type.IQ4_XS,
    "Q3_K_L": Q3_K, "Q3_K_M": Q3_K, "Q3_K_S": Q3_K, "Q2_K": Q2_K,
}  # fmt: skip

# the type that stands in where a row is no multiple of the wanted type's block
FALLBACK = {
    Q2_K: Type.Q4_0, Q3_K: Type.Q4_0, Q4_K: Type.Q5_0, Q5_K: Type.Q5_1, Q6_K: Q8_0, Type.IQ4_XS: Type.IQ4_NL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What the rules may look at: the layer (counted from 0), how many there are, query heads per KV head."""

    layer: int
    layers: int
    heads_per_kv: int

    @property
    def gets_more_bits(self) -> bool:
        """The first and last eighth of the layers and every third between them."""
        eighth = self.layers // 8
        return self.layer < eighth or self.layer >= 7 * self.layers // 8 or (self.layer - eighth) % 3 == 2

    @property
    def is_early(self) -> bool:
        """Is it in the first eighth of the layers?"""
        return self.layer < self.layers // 8


Rule = Callable[[Place], GGMLQuantizationType]


def _always(kind: GGMLQuantizationType) -> Rule:
    return lambda _place: kind


RULES: dict[tuple[str, str], Rule] = {
    ("Q2_K", "attn_v"): lambda place: Q4_K if place.heads_per_kv >= 4 else Q3_K,
    ("Q2_K", "ffn_down"): _always(Q3_K),
    ("Q2_K", "attn_output"): _always(Q3_K),
    ("Q3_K_M", "attn_v"): lambda place: Q5_K if place.layer < 2 else Q4_K,
    ("Q3_K_M", "ffn_down"): lambda place: Q5_K if place.layer < place.layers // 16 else Q4_K,
    ("Q3_K_M", "attn_output"): _always(Q4_K),
    ("Q3_K_L", "attn_v"): _always(Q5_K),
    ("Q3_K_L", "ffn_down"): _always(Q5_K),
    ("Q3_K_L", "attn_output"): _always(Q5_K),
    ("Q4_K_S", "attn_v"): lambda place: Q5_K if place.layer < 4 else Q4_K,
    ("Q4_K_S", "ffn_down"): lambda place: Q5_K if place.is_early else Q4_K,
    ("Q4_K_M", "attn_v"): lambda place: Q6_K if place.gets_more_bits else Q4_K,
    ("Q4_K_M", "ffn_down"): lambda place: Q6_K if place.gets_more_bits else Q4_K,
    ("Q5_K_M", "attn_v"): lambda place: Q6_K if place.gets_more_bits else Q5_K,
    ("Q5_K_M", "ffn_down"): lambda place: Q6_K if place.gets_more_bits else Q5_K,
    ("IQ4_NL", "attn_v"): lambda place: Q5_K if place.heads_per_kv >= 4 else Type.IQ4_NL,
    ("IQ4_NL", "ffn_down"): lambda place: Q5_K if place.is_early else Type.IQ4_NL,
    ("IQ4_XS", "attn_v"): lambda place: Q5_K if place.heads_per_kv >= 4 else Type.IQ4_XS,
    ("IQ4_XS", "ffn_down"): lambda place: Q5_K if place.is_early else Type.IQ4_XS,
}


def file_type(name: str) -> str:
    """The canonical name of a file type, such as `Q4_K_M` for `q4_k_m`. Raises LocalchatError for others."""
    if name.upper() not in BASE:
        raise LocalchatError(f"{name!r} is not a type that can be made here", f"choose one of {' '.join(BASE)}")
    return name.upper()


def file_type_number(name: str) -> LlamaFileType:
    """The value of `general.file_type`."""
    return LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"]


def tensor_type(file: str, target: Target, config: Config) -> GGMLQuantizationType:
    """The type of one tensor in a file of the type `file`."""
    if len(target.shape) < 2:
        return Type.F32
    base = BASE[file]
    if base in (Type.F32, Type.F16, Type.BF16):
        return base
    return _that_fits(_wanted(file, base, target, config), target.columns)


def _wanted(file: str, base: GGMLQuantizationType, target: Target, config: Config) -> GGMLQuantizationType:
    role, layer = _role(target.name)
    if role == "output" or (role == "token_embd" and config.tied):
        whole = target.columns % GGML_QUANT_SIZES[base][0] == 0
        return Q6_K if whole and base != Q8_0 else Q8_0
    rule = RULES.get((file, role), _always(base))
    kind = rule(Place(layer, config.layers, config.heads // config.kv_heads))
    # In 70B models eight heads share attn_v, so more bits for it cost almost nothing.
    return Q5_K if role == "attn_v" and config.layers == 80 and kind in (Q3_K, Q4_K) else kind


def _role(name: str) -> tuple[str, int]:
    """`attn_v` and 3 of `blk.3.attn_v.weight`; `output` and 0 of `output.weight`."""
    parts = name.split(".")
    return (parts[2], int(parts[1])) if parts[0] == "blk" else (parts[0], 0)


def _that_fits(kind: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    if columns % GGML_QUANT_SIZES[kind][0] == 0:
        return kind
    kind = FALLBACK.get(kind, kind)
    return kind if columns % GGML_QUANT_SIZES[kind][0] == 0 else Type.F16
