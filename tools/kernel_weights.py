"""Weights over which quantizers might stumble, by name, and importances for their columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LARGEST = np.float32(3.4028235e38)


def _floats(values: object) -> Floats:
    return np.ascontiguousarray(np.clip(np.asarray(values, np.float64), -LARGEST, LARGEST), np.float32)


def families(seed: int, rows: int, columns: int) -> Iterator[tuple[str, Floats]]:
    """Each kind of weights once, of this shape; `columns` is a multiple of 32."""
    make = np.random.default_rng(seed)
    shape, parts = (rows, columns), (rows, columns // 16, 1)
    normal = make.standard_normal(shape)
    yield "normal", _floats(normal * 0.02)
    yield "heavy-tailed", _floats(make.standard_t(1.5, shape))
    yield "sparse", _floats(normal * (make.random(shape) < 0.05))
    yield "constant", _floats(make.standard_normal((rows, columns // 32)).repeat(32, 1))
    yield "one value", np.full(shape, 0.25, np.float32)
    yield "denormal", _floats(normal * 1e-40)
    yield "tiny", _floats(normal * 1e-14)
    yield (
        "tiny beside large",
        _floats(normal.reshape(*parts[:2], 16) * np.exp2(make.integers(-30, 10, parts))).reshape(shape),
    )
    yield (
        "of every size, by parts",
        _floats(normal.reshape(*parts[:2], 16) * np.exp2(make.integers(-140, 16, parts))).reshape(shape),
    )
    yield "of every size", _floats(normal * np.exp2(make.integers(-140, 16, shape)))
    yield "huge", _floats(normal * 1e38)
    yield "large", _floats(normal * 1e12)
    yield "about what a scale can be", _floats(normal * 65504)
    yield "far above zero", _floats(1000 + normal * 1e-4)
    yield "far below zero", _floats(-1000 + normal * 1e-4)
    yield "positive", _floats(np.abs(normal))
    yield "signed zeros", np.where(make.random(shape) < 0.5, np.float32(-0.0), np.float32(0.0))
    yield "single spikes", _spikes(make, rows, columns)
    yield "ties", _floats(make.integers(-3, 4, shape))
    yield "equal sizes", _floats(np.where(make.random(shape) < 0.5, 0.3, -0.3))
    yield "levels already", _floats(make.integers(0, 16, shape) * 0.37 - 2)
    yield "halfway between levels", _floats((make.integers(-64, 64, shape) + 0.5) / 16)
    yield "any bits", _floats(np.nan_to_num(make.integers(0, 1 << 32, shape, dtype=np.uint32).view(np.float32)))
    yield "any bits of float16", _floats(make.integers(0, 0x7C00, shape, dtype=np.uint16).view(np.float16))


def _spikes(make: np.random.Generator, rows: int, columns: int) -> Floats:
    found = np.zeros((rows * columns // 32, 32), np.float32)
    found[np.arange(len(found)), make.integers(0, 32, len(found))] = make.standard_normal(len(found))
    return found.reshape(rows, columns)


def importances(seed: int, columns: int) -> Iterator[Floats]:
    """Importance matrices of one row: ordinary ones, and such as nobody should have."""
    make = np.random.default_rng(seed)
    yield _floats(make.random(columns) ** 8)
    yield _floats(np.exp(make.standard_normal(columns) * 6))
    yield _floats(make.random(columns) * (make.random(columns) < 0.5))
    yield np.zeros(columns, np.float32)
    yield np.full(columns, 1e15, np.float32)
    yield np.full(columns, 1e-30, np.float32)
