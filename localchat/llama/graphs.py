"""Small graphs of ggml's operations on one device, to see how long they take. Used in a child process only."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from localchat.errors import LocalchatError
from localchat.llama.libraries import ggml
from localchat.llama.quantize import quantize, row_bytes

CPU = 0  # enum ggml_backend_dev_type
FLOAT_PRECISION = 10  # GGML_PREC_F32, as llama.cpp asks for attention
WEIGHTS = 1  # GGML_BACKEND_BUFFER_USAGE_WEIGHTS
CONTEXT_BYTES = 8 << 20  # descriptions of up to some ten thousand tensors
GRAPH_NODES = 4096
PATTERN_WEIGHTS = 1 << 17  # repeated to fill a matrix: some thousand blocks, each with a scale of its own
SPREAD = 0.02  # standard deviation of weights
SEED = 1


class _Parameters(ctypes.Structure):
    """`struct ggml_init_params` of ggml.h."""

    _fields_ = (("bytes", ctypes.c_size_t), ("memory", ctypes.c_void_p), ("has_no_data", ctypes.c_bool))


_P, _I, _L, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_Z = ctypes.c_size_t
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_backend_dev_by_name": (_P, [ctypes.c_char_p]),
    "ggml_backend_dev_type": (_I, [_P]),
    "ggml_backend_dev_memory": (None, [_P] * 3),
    "ggml_backend_dev_init": (_P, [_P, _P]),
    "ggml_backend_dev_buffer_type": (_P, [_P]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_P, _P]),
    "ggml_backend_dev_backend_reg": (_P, [_P]),
    "ggml_backend_reg_get_proc_address": (_P, [_P, ctypes.c_char_p]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_P, [_P, _P]),
    "ggml_backend_buffer_free": (None, [_P]),
    "ggml_backend_buffer_clear": (None, [_P, ctypes.c_uint8]),
    "ggml_backend_buffer_set_usage": (None, [_P, _I]),
    "ggml_backend_tensor_set": (None, [_P, _P, _Z, _Z]),
    "ggml_backend_tensor_get": (None, [_P, _P, _Z, _Z]),
    "ggml_backend_tensor_copy": (None, [_P, _P]),
    "ggml_backend_graph_compute": (_I, [_P, _P]),
    "ggml_init": (_P, [_Parameters]),
    "ggml_free": (None, [_P]),
    "ggml_new_graph_custom": (_P, [_P, _Z, ctypes.c_bool]),
    "ggml_build_forward_expand": (None, [_P, _P]),
    "ggml_new_tensor_1d": (_P, [_P, _I, _L]),
    "ggml_new_tensor_2d": (_P, [_P, _I, _L, _L]),
    "ggml_reshape_3d": (_P, [_P, _P, _L, _L, _L]),
    "ggml_mul_mat": (_P, [_P] * 3),
    "ggml_mul": (_P, [_P] * 3),
    "ggml_add": (_P, [_P] * 3),
    "ggml_rms_norm": (_P, [_P, _P, _F]),
    "ggml_flash_attn_ext": (_P, [_P] * 5 + [_F] * 3),
    "ggml_flash_attn_ext_set_prec": (None, [_P, _I]),
}


class Backend:
    """A device that is ready to compute; it is given back when the process ends."""

    def __init__(self, name: str, threads: int) -> None:
        """Start it; `threads` matters to the CPU alone. Raises LocalchatError where there is none of this name."""
        self.ggml = ggml(SIGNATURES)
        self.device = self.ggml.ggml_backend_dev_by_name(name.encode())
        self.handle = self.device and self.ggml.ggml_backend_dev_init(self.device, None)
        if not self.handle:
            raise LocalchatError(f"llama.cpp cannot compute on {name[:80]}", "see: localchat hardware")
        self.is_cpu = self.ggml.ggml_backend_dev_type(self.device) == CPU
        self.own_place = self.ggml.ggml_backend_dev_buffer_type(self.device)
        self.computing_seconds = 0.0
        if self.is_cpu:
            self._function("ggml_backend_set_n_threads", None, _P, _I)(self.handle, threads)

    @property
    def free_bytes(self) -> int:
        """Of the device's memory."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.ggml.ggml_backend_dev_memory(self.device, ctypes.byref(free), ctypes.byref(total))
        return free.value

    @contextmanager
    def weights(
        self, kind: GGMLQuantizationType, columns: int, rows: int, count: int, *, is_kv: bool = False
    ) -> Iterator[list[int]]:
        """Matrices with random weights, where llama.cpp would put them; none where the device cannot use them."""
        for place in [self.own_place] if is_kv else self._places():
            with self.context() as context:
                made = [self.ggml.ggml_new_tensor_2d(context, int(kind), columns, rows) for _ in range(count)]
                with self.allocated(context, place) as buffer:
                    if not buffer or not (is_kv or self._multiplies(context, made[0], columns)):
                        continue
                    self.ggml.ggml_backend_buffer_set_usage(buffer, WEIGHTS)
                    self._fill(made, kind, columns, rows)
                    yield made
                    return
        yield []

    @contextmanager
    def graph(self) -> Iterator[Graph]:
        """An empty graph."""
        with self.context() as context:
            yield Graph(self, context)

    @contextmanager
    def context(self) -> Iterator[int]:
        """Room for descriptions of tensors."""
        context = self.ggml.ggml_init(_Parameters(CONTEXT_BYTES, None, True))
        try:
            yield context
        finally:
            self.ggml.ggml_free(context)

    @contextmanager
    def allocated(self, context: int, place: int) -> Iterator[int | None]:
        """Memory for all tensors of a context; None where there is not so much."""
        buffer = self.ggml.ggml_backend_alloc_ctx_tensors_from_buft(context, place)
        try:
            yield buffer
        finally:
            if buffer:
                self.ggml.ggml_backend_buffer_free(buffer)

    def _places(self) -> Iterator[int]:
        """The kinds of memory that llama.cpp tries in turn: on a CPU first those that keep weights in another order."""
        if self.is_cpu:
            listed = self._function("ggml_backend_dev_get_extra_bufts", ctypes.POINTER(_P), _P)(self.device)
            index = 0
            while place := listed[index]:
                yield place
                index += 1
        yield self.own_place

    def _function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        registry = self.ggml.ggml_backend_dev_backend_reg(self.device)
        address = self.ggml.ggml_backend_reg_get_proc_address(registry, name.encode())
        if not address:
            raise LocalchatError(f"this build of llama.cpp has no function {name}", "see: localchat doctor")
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    def _multiplies(self, context: int, matrix: int, columns: int) -> bool:
        vector = self.ggml.ggml_new_tensor_1d(context, int(GGMLQuantizationType.F32), columns)
        product = self.ggml.ggml_mul_mat(context, matrix, vector)
        return bool(self.ggml.ggml_backend_dev_supports_op(self.device, product))

    def _fill(self, tensors: Sequence[int], kind: GGMLQuantizationType, columns: int, rows: int) -> None:
        """The same weights in all; they travel once to a device, which may be in another machine."""
        data = made_up(kind, columns, rows)
        for tensor in tensors if self.is_cpu else tensors[:1]:
            self.ggml.ggml_backend_tensor_set(tensor, data.ctypes.data, 0, rows * row_bytes(kind, columns))
        for tensor in [] if self.is_cpu else tensors[1:]:
            self.ggml.ggml_backend_tensor_copy(tensors[0], tensor)


def made_up(kind: GGMLQuantizationType, columns: int, rows: int) -> NDArray[np.uint8]:
    """What every matrix of this type and shape is filled with: shape (rows, bytes of a row)."""
    some = min(rows, PATTERN_WEIGHTS // columns)
    weights = np.random.default_rng(SEED).standard_normal((some, columns), np.float32) * np.float32(SPREAD)
    return np.tile(quantize(kind, weights, np.ones(columns, np.float32)), (rows // some, 1))


def made_up_vectors(count: int) -> NDArray[np.float32]:
    """The numbers of an input."""
    return np.random.default_rng(SEED).standard_normal(count, np.float32)


class Graph:
    """Operations that depend on each other; a tensor is the number that ggml knows it by."""

    def __init__(self, backend: Backend, context: int) -> None:
        self._backend, self._ggml, self._context = backend, backend.ggml, context
        self._inputs: list[tuple[int, int]] = []

    def vector(self, count: int, vectors: int = 1) -> int:
        """An input of random numbers: so many vectors of this length."""
        tensor: int = self._ggml.ggml_new_tensor_2d(self._context, int(GGMLQuantizationType.F32), count, vectors)
        self._inputs.append((tensor, count * vectors))
        return tensor

    def multiply(self, matrix: int, vector: int) -> int:
        """A matrix by each of the vectors."""
        return int(self._ggml.ggml_mul_mat(self._context, matrix, vector))

    def multiply_each(self, left: int, right: int) -> int:
        """Number by number."""
        return int(self._ggml.ggml_mul(self._context, left, right))

    def add(self, left: int, right: int) -> int:
        """Number by number."""
        return int(self._ggml.ggml_add(self._context, left, right))

    def norm(self, vector: int) -> int:
        """Divided by the root of the mean square."""
        return int(self._ggml.ggml_rms_norm(self._context, vector, 1e-5))

    def attend(self, queries: int, heads: int, keys: int, values: int, kv_heads: int, tokens: int) -> int:
        """The attention of one token over all `tokens`; a cache has shape (kv_heads * tokens, numbers of a head)."""
        library, context = self._ggml, self._context
        head_dim = self._inputs[0][1] // heads
        query = library.ggml_reshape_3d(context, queries, head_dim, 1, heads)
        key, value = (library.ggml_reshape_3d(context, one, head_dim, tokens, kv_heads) for one in (keys, values))
        mask = library.ggml_new_tensor_2d(context, int(GGMLQuantizationType.F16), tokens, 1)
        output: int = library.ggml_flash_attn_ext(context, query, key, value, mask, head_dim**-0.5, 0.0, 0.0)
        library.ggml_flash_attn_ext_set_prec(output, FLOAT_PRECISION)
        return output

    def seconds(self, outputs: Sequence[int], duration: float) -> float:
        """Seconds of one round, the first quartile of those within `duration`; 0 where the device cannot do it."""
        with self._ready(outputs) as graph:
            rounds = self._rounds(graph, outputs[-1], duration) if graph else []
        return sorted(rounds)[len(rounds) // 4] if rounds else 0.0

    def result(self, output: int, count: int) -> NDArray[np.float32] | None:
        """The numbers of an output, `count` of them; None where the device cannot do it."""
        found = np.empty(count, np.float32)
        with self._ready([output]) as graph:
            if not graph or self._ggml.ggml_backend_graph_compute(self._backend.handle, graph):
                return None
            self._ggml.ggml_backend_tensor_get(output, found.ctypes.data, 0, found.nbytes)
        return found

    @contextmanager
    def _ready(self, outputs: Sequence[int]) -> Iterator[int | None]:
        """The graph of these outputs with its inputs filled; None where the device cannot do it."""
        backend, library = self._backend, self._ggml
        if not outputs or not all(library.ggml_backend_dev_supports_op(backend.device, one) for one in outputs):
            yield None
            return
        graph = library.ggml_new_graph_custom(self._context, GRAPH_NODES, False)
        for output in outputs:
            library.ggml_build_forward_expand(graph, output)
        with backend.allocated(self._context, backend.own_place) as buffer:
            if buffer:
                library.ggml_backend_buffer_clear(buffer, 0)  # a mask of zeros hides nothing
            for tensor, count in self._inputs if buffer else ():
                numbers = made_up_vectors(count)
                library.ggml_backend_tensor_set(tensor, numbers.ctypes.data, 0, numbers.nbytes)
            yield graph if buffer else None

    def _rounds(self, graph: int, output: int, duration: float) -> list[float]:
        """Seconds of each round behind the first; none where the device failed.

        A number of the result is fetched each time: another machine does not say otherwise when it is done.
        """
        found: list[float] = []
        number = ctypes.c_float()
        started = time.perf_counter()
        end = started + duration
        while not found or time.perf_counter() < end:
            before = time.perf_counter()
            if self._ggml.ggml_backend_graph_compute(self._backend.handle, graph):
                return []
            self._ggml.ggml_backend_tensor_get(output, ctypes.byref(number), 0, ctypes.sizeof(number))
            found.append(time.perf_counter() - before)
        self._backend.computing_seconds += time.perf_counter() - started
        return found[1:] or found
