"""A hash that is put down and taken up again is the hash of the whole."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat import sha256


def bytes_of(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(data, np.uint8)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_it_is_the_hash_that_hashlib_gives(parts: list[bytes]) -> None:
    found = sha256.begun()
    for part in parts:
        found.update(bytes_of(part))
        assert found.hexdigest() == found.hexdigest(), "to ask for it changes nothing"
    assert found.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_it_goes_on_from_its_state(before: bytes, after: bytes) -> None:
    first = sha256.begun()
    first.update(bytes_of(before))
    again = sha256.resumed(first.state(), len(before))
    assert again is not None
    again.update(bytes_of(after))
    assert again.hexdigest() == hashlib.sha256(before + after).hexdigest()


@pytest.mark.parametrize("damage", ["", "zz", "00", "00" * 112, "ff" * 112, "00" * 113])
def test_a_damaged_state_is_none(damage: str) -> None:
    assert sha256.resumed(damage, 100) is None


def test_the_state_of_another_length_is_none() -> None:
    found = sha256.begun()
    found.update(bytes_of(bytes(100)))
    assert sha256.resumed(found.state(), 99) is None


def test_without_the_library_hashes_are_right_and_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sha256, "_library", lambda: None)
    found = sha256.begun()
    found.update(bytes_of(b"abc"))
    assert (found.hexdigest(), found.state()) == (hashlib.sha256(b"abc").hexdigest(), "")
    assert sha256.resumed("00" * 112, 0) is None
