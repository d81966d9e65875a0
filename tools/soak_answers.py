"""What a server answers when it is asked nothing else, and whether an answer under load is the same."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from bench_chaos import TIE
from soak_asking import LIKELIEST, PATHS, Client, Fault, Talk, body_of, say, text_of, vector_of

TOPICS = {
    "whale": "What is a whale?", "bread": "How is bread made?", "sun": "Why is the sun hot?",
    "chess": "Tell me the rules of chess.", "rome": "Who founded the city of Rome?", "bee": "What do bees do all day?",
    "piano": "How does a piano make sounds?", "moon": "Why does the moon change its shape?",
    "tea": "Where was tea first grown?", "train": "Describe a journey by train.",
    "doctor": "What does a doctor do in a hospital?", "gold": "Why is gold so expensive?",
}  # fmt: skip
BEGINNINGS = {
    "tale": "Once upon a time, in a village by the sea,", "list": "The three most important inventions of all are",
    "code": "def fibonacci(n):\n    ", "letter": "Dear Sir or Madam,\n\nI am writing to",
}  # fmt: skip
TEXTS = ("A whale is a mammal.", "Bread is baked in an oven. " * 20, "def main() -> None:\n    print('hello')\n")
TALKS = ("bread", "moon", "train")
FOLLOWING = ("Say that in one short sentence.", "And what happens then?")
CONVERSATIONAL = ("chat", "messages", "responses")
SAME_CHARACTERS = 24  # at the beginning of two answers: one is the other
LEAST_COSINE = 1 - 1e-3

Verdict = Literal["same", "flip", "far flip", "wrong", "another's"]
RIGHT = ("same", "flip")
# Natural logarithm. llama.cpp's own sums part these tokens: with flash attention and without, the likeliest first home
# of tea is another country, and prompts read by one token or by many change likelihoods by 0.24.
FAR = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    """One of an answer: its text, how likely it was, and others with their likelihoods."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Known:
    """A question and its answer."""

    protocols: tuple[str, ...]
    talk: Talk
    tokens: tuple[Token, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Answers:
    """Those to all questions when each was asked alone."""

    known: Mapping[str, Known]
    vectors: Mapping[str, list[float]]

    def verdict(self, name: str, found: str) -> Verdict:
        """Is this the answer to that question? A flip goes on from a token that was as likely."""
        known = self.known[name]
        if found == known.text:
            return "same"
        beginning = found[:SAME_CHARACTERS]
        if beginning != known.text[:SAME_CHARACTERS] and any(
            beginning == other.text[:SAME_CHARACTERS]
            for other_name, other in self.known.items()
            if other_name.split()[0] != name.split()[0]  # turns of one talk say much the same
        ):
            return "another's"
        if any(map(found.startswith, _as_likely(known.tokens, TIE))):
            return "flip"
        return "far flip" if any(map(found.startswith, _as_likely(known.tokens, FAR))) else "wrong"

    def is_same_vector(self, text: str, found: list[float]) -> bool:
        """Do both point the same way?"""
        wanted = self.vectors[text]
        if len(found) != len(wanted):
            return False
        cosine: float = sum(map(operator.mul, found, wanted)) / (math.hypot(*found) * math.hypot(*wanted))
        return cosine >= LEAST_COSINE


def gap(known: Known, found: str) -> str:
    """Where an answer leaves the one that is known, and how much likelier the token was that was expected there."""
    before = ""
    for token in known.tokens:
        if not found.startswith(before + token.text):
            rest = found[len(before) :]
            gaps = [token.logprob - logprob for text, logprob in token.others if text and rest.startswith(text)]
            return f"{rest[:20]!r} for {token.text!r}, {min(gaps):.2f} less likely" if gaps else f"{rest[:20]!r}"
        before += token.text
    return "nowhere"


def _as_likely(tokens: Iterable[Token], tie: float) -> list[str]:
    """Beginnings of an answer whose last token is one that was, but for so little, as likely as the one taken."""
    found, before = [], ""
    for token in tokens:
        found += [before + text for text, logprob in token.others
                  if text != token.text and logprob > token.logprob - tie]  # fmt: skip
        before += token.text
    return found


def asked_alone(client: Client) -> Answers:
    """The answers to all questions, one after the other."""
    known: dict[str, Known] = {}
    for name, question in TOPICS.items():
        known[name] = _known(client, CONVERSATIONAL, (("user", question),))
    for name, text in BEGINNINGS.items():
        known[name] = _known(client, ("completions",), (("user", text),))
    for name in TALKS:
        before = known[name]
        for number, question in enumerate(FOLLOWING):
            talk = (*before.talk, ("assistant", before.text), ("user", question))
            known[turn_name(name, number)] = before = _known(client, CONVERSATIONAL, talk)
    return Answers(known, {text: vector(client, text) for text in TEXTS})


def turn_name(talk: str, number: int) -> str:
    """The name of a turn behind the first one."""
    return f"{talk} {number}"


def vector(client: Client, text: str, form: str = "float") -> list[float]:
    """The vector of a text. Raises as `Client.ask` does."""
    return vector_of(client.get(PATHS["embeddings"], {"model": "model", "input": text, "encoding_format": form}))


def disagreements(client: Client, answers: Answers) -> list[str]:
    """Where a protocol says something else than the first one when it is asked alone."""
    found = []
    for name, known in answers.known.items():
        for protocol, is_stream in product(known.protocols, (False, True)):
            text = say(client, protocol, known.talk, is_stream=is_stream)
            if answers.verdict(name, text) not in (*RIGHT, "far flip"):
                found.append(f"without load: {name} by {protocol}: {text!r}, at {gap(known, text)}")
    return found


def _known(client: Client, protocols: tuple[str, ...], talk: Talk) -> Known:
    first = protocols[0]
    wanted: dict[str, Any] = (
        {"logprobs": True, "top_logprobs": LIKELIEST} if first == "chat" else {"logprobs": LIKELIEST}
    )
    answer = client.get(PATHS[first], body_of(first, talk, **wanted))
    told = answer["choices"][0]["logprobs"]
    tokens = _of_chat(told) if first == "chat" else _of_completions(told)
    text = text_of(first, answer)
    if "".join(token.text for token in tokens)[: len(text)] != text:
        raise Fault(f"the tokens of an answer are not its text: {text!r}")
    return Known(protocols, talk, tokens, text)


def _of_chat(told: Any) -> tuple[Token, ...]:
    return tuple(
        Token(one["token"], one["logprob"], tuple((other["token"], other["logprob"]) for other in one["top_logprobs"]))
        for one in told["content"]
    )


def _of_completions(told: Any) -> tuple[Token, ...]:
    columns = zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True)
    return tuple(Token(text, logprob, tuple(others.items())) for text, logprob, others in columns)
