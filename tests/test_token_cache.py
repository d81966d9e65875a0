"""Texts are tokenized once, and what is remembered has a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine import token_cache
from localchat.engine.token_cache import TokenCache
from localchat.errors import LocalchatError


class Tokenizer:
    """One token a character, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[list[int]]:
        self.asked.append(texts)
        return [list(map(ord, text)) for text in texts]


def test_only_what_is_new_is_asked_for_and_each_text_once() -> None:
    cache = TokenCache(tokenizer := Tokenizer())
    assert cache.tokens(["a", "bc", "a", ""]) == [[97], [98, 99], [97], []]
    assert cache.tokens(["bc", "d", ""]) == [[98, 99], [100], []]
    assert cache.tokens(["d", "bc"]) == [[100], [98, 99]]
    assert cache.tokens([]) == []
    assert tokenizer.asked == [["a", "bc", ""], ["d"]]


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    cache = TokenCache(tokenizer := Tokenizer(), limit=4)
    cache.tokens(["aa", "bb"])
    cache.tokens(["aa", "cc"])
    cache.tokens(["aa"])
    cache.tokens(["bb"])
    assert tokenizer.asked == [["aa", "bb"], ["cc"], ["bb"]]


def test_a_text_longer_than_the_limit_does_not_drive_out_others() -> None:
    cache = TokenCache(tokenizer := Tokenizer(), limit=4)
    cache.tokens(["aa"])
    assert cache.tokens(["x" * 5]) == [[120] * 5]
    cache.tokens(["aa"])
    assert tokenizer.asked == [["aa"], ["xxxxx"]]


def test_no_number_of_short_texts_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "LIMIT_TEXTS", 3)
    cache = TokenCache(tokenizer := Tokenizer())
    cache.tokens(["", "a", "b", "c"])
    cache.tokens(["c", "b", "a"])
    cache.tokens([""])
    assert tokenizer.asked == [["", "a", "b", "c"], [""]]


def test_nothing_is_remembered_of_what_failed() -> None:
    failures = iter([LocalchatError("the engine stopped", "ask again"), None])

    def tokenize(texts: list[str]) -> list[list[int]]:
        if failure := next(failures):
            raise failure
        return [[1] for _ in texts]

    cache = TokenCache(tokenize)
    with pytest.raises(LocalchatError):
        cache.tokens(["a"])
    assert cache.tokens(["a"]) == [[1]]


@given(st.lists(st.lists(st.text(max_size=4), max_size=5), max_size=20), st.integers(0, 12))
def test_it_answers_as_the_tokenizer_does_and_keeps_to_its_limit(questions: list[list[str]], limit: int) -> None:
    cache = TokenCache(Tokenizer(), limit)
    for texts in questions:
        assert cache.tokens(texts) == [list(map(ord, text)) for text in texts]
        assert sum(map(len, cache._known)) == cache._characters <= limit
