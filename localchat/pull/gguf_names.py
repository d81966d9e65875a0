"""What the name of a model file tells: the type, the model, and whether it is a part of one."""

from __future__ import annotations

import re

PART = re.compile(r"(?P<start>.+)-(?P<number>\d{5})-of-(?P<of>\d{5})\.gguf", re.IGNORECASE)
# Q4_K_M, IQ2_XXS, Q4_0, MXFP4_MOE, BF16, TQ1_0; before it may stand who chose the mix (UD-, i1-).
TYPE = re.compile(
    r"(?<![A-Za-z0-9])(?P<mix>UD-)?(?P<type>I?Q\d_(?:[01]|K|NL|XXS|XS|S|M)(?:_(?:XXS|XS|S|M|L|XL|XXL)|_\d_\d)?"
    r"|TQ[12]_0|MXFP4(?:_MOE)?|BF16|F(?:P)?(?:16|32))(?![A-Za-z0-9_])",
    re.IGNORECASE,
)
# What belongs to a model and is none: its eyes, what matters in it, what is added to it.
NO_MODEL = re.compile(r"(?:^|[-_./])(?:mmproj|imatrix|lora|adapter|controlvector)(?:[-_.]|$)", re.IGNORECASE)
PLAIN = {"FP16": "F16", "FP32": "F32", "MXFP4": "MXFP4_MOE"}
SIZE_SUFFIX = re.compile(r"_(?:XXS|XS|S|M|L|XL|XXL)$")


def is_gguf(name: str) -> bool:
    """Is it a model file, or a part of one, by its name?"""
    return name.lower().endswith(".gguf")


def type_in(name: str) -> str:
    """The type that a name says, such as `Q4_K_M` or `UD-Q4_K_XL`; empty where it says none."""
    found = [*TYPE.finditer(name.rpartition("/")[2])] or [*TYPE.finditer(name)]
    if not found:
        return ""
    kind = found[-1]["type"].upper()
    return (found[-1]["mix"] or "").upper() + PLAIN.get(kind, kind)


def model_in(name: str) -> str:
    """The model that a file's name tells: without folder, type, number of the part and ending."""
    base = name.rpartition("/")[2]
    if match := PART.fullmatch(base):
        base = f"{match['start']}.gguf"
    base = TYPE.sub("", base[: -len(".gguf")] if is_gguf(base) else base)
    return re.sub(r"[-._]{2,}", "-", re.sub(r"(?i)[-._](?:i1|imat)(?=[-._]|$)", "", base)).strip("-._ ")


def is_family(name: str, header: str) -> bool:
    """Can a file be called by this type whose header has that one? `Q4_K_L` is a mix of its own, of `Q4_K_M`'s kind."""
    return SIZE_SUFFIX.sub("", name.removeprefix("UD-")) == SIZE_SUFFIX.sub("", header)
