"""A placement in llama.cpp's own terms."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as cpp

from localchat.errors import LocalchatError
from localchat.llama.libraries import ggml
from localchat.llama.placement import Placement

KV_NUMBERS = {"f16": cpp.GGML_TYPE_F16, "q8_0": cpp.GGML_TYPE_Q8_0}
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_backend_dev_by_name": (ctypes.c_void_p, [ctypes.c_char_p]),
    "ggml_backend_cpu_buffer_type": (ctypes.c_void_p, []),
}
GUESSED_TOKENS = 8  # that are tried at once behind the last token of a conversation
PHYSICAL_BATCH = 512  # tokens of one graph: beyond this, work buffers grow and the rate hardly does


class _Override(ctypes.Structure):
    """`llama_model_tensor_buft_override`: tensors whose names match go to this kind of buffer."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class ModelParameters:
    """llama_model_params, and the arrays that it points to for as long as this lives."""

    def __init__(self, placement: Placement) -> None:
        """Raises LocalchatError where llama.cpp does not know one of the devices."""
        self.raw = cpp.llama_model_default_params()
        self.raw.n_gpu_layers = placement.gpu_layers
        self.raw.load_mode = cpp.LLAMA_LOAD_MODE_AUTO if placement.is_mapped else cpp.LLAMA_LOAD_MODE_NONE
        self._devices = _devices([share.device for share in placement.shares])
        self._split = _split([share.layers for share in placement.shares])
        self._overrides = _overrides(placement.experts_on_host)
        self.raw.devices = ctypes.cast(self._devices, ctypes.c_void_p)
        self.raw.tensor_split = ctypes.cast(self._split, ctypes.POINTER(ctypes.c_float))
        if placement.experts_on_host:
            self.raw.tensor_buft_overrides = ctypes.cast(self._overrides, ctypes.c_void_p)


def context_parameters(placement: Placement) -> Any:
    """llama_context_params; logits are wanted of the last token of each slot, and of those guessed to follow it."""
    raw = cpp.llama_context_default_params()
    raw.n_ctx, raw.n_batch = placement.context, placement.batch
    raw.n_ubatch = min(placement.batch, PHYSICAL_BATCH)
    raw.n_seq_max, raw.kv_unified = placement.slots, True
    raw.n_outputs_max = min(placement.batch, placement.slots * (1 + GUESSED_TOKENS))
    raw.n_threads = raw.n_threads_batch = placement.threads
    raw.type_k = raw.type_v = KV_NUMBERS[placement.kv_type]
    raw.flash_attn_type = cpp.LLAMA_FLASH_ATTN_TYPE_AUTO
    raw.pooling_type = cpp.LLAMA_POOLING_TYPE_NONE  # whatever the file says: vectors are asked for token by token
    return raw


def _devices(names: Sequence[str]) -> Any:
    """The devices by their names, ended by null: with no name, llama.cpp uses none."""
    library = ggml(SIGNATURES)
    found = [library.ggml_backend_dev_by_name(name.encode()) for name in names]
    for name, device in zip(names, found, strict=True):
        if not device:
            raise LocalchatError(f"llama.cpp has no device {name} any more", "see what there is: localchat hardware")
    return (ctypes.c_void_p * (len(found) + 1))(*found, None)


def _split(layers: Sequence[int]) -> Any:
    """llama.cpp divides the layers on devices in this proportion."""
    return (ctypes.c_float * cpp.llama_max_devices())(*map(float, layers))


def _overrides(layers: int) -> Any:
    """The experts of the first layers stay in main memory."""
    host = ggml(SIGNATURES).ggml_backend_cpu_buffer_type()
    numbers = "|".join(map(str, range(layers)))
    pattern = rf"^blk\.({numbers})\.ffn_(gate|up|down)_exps\.weight$"
    return (_Override * 2)(_Override(pattern.encode(), host), _Override(None, None))
