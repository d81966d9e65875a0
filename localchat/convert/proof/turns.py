"""How a conversation is written and where a turn ends: the template that came over, and the tokens that stop."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from localchat.conversation import Message
from localchat.convert.proof.tokens import PREFIX, Words, words_of
from localchat.convert.template import Templates
from localchat.errors import LocalchatError
from localchat.gguf_file import ModelFile
from localchat.library import Check
from localchat.llama.vocabulary import Vocabulary
from localchat.prompt.template import render
from localchat.prompt.tokens import longest_first

KEY = "tokenizer.chat_template"
SYSTEM, QUESTION, REPLY, NEXT = "Answer briefly.", "Where does rain come from?", "From clouds.", "And snow?"
TALKS: tuple[tuple[Message, ...], ...] = (
    (Message("user", QUESTION),),
    (Message("user", QUESTION), Message("assistant", REPLY), Message("user", NEXT)),
    (Message("system", SYSTEM), Message("user", QUESTION), Message("assistant", REPLY), Message("user", NEXT)),
)
# What looks like the end of a turn although no token is it: <|im_end|>, </s>, <end_of_turn>, [/INST].
MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?[\w-]{1,40}>|\[/?[A-Z_]{1,40}\]")
STOP_LIMIT_CHARACTERS = 60


def fingerprint(model: ModelFile) -> str:
    """A sha256 of the template in a model file."""
    return hashlib.sha256(str(model.metadata.get(KEY, "")).encode("utf-8", "replace")).hexdigest()


def check_template(model: ModelFile, templates: Templates, words: Mapping[str, str | None]) -> Check:
    """Does the model file write a conversation as the checkpoint does? `words` are its texts of bos and eos."""
    pairs = [(KEY, templates.default), *((f"{KEY}.{name}", text) for name, text in templates.named.items())]
    for key, text in pairs:
        if model.metadata.get(key) != text:
            return Check("template", "failed", "the chat template in the model file is not that of the checkpoint")
    if templates.default is None:
        return Check("template", "noted", "there is none")
    here = token_words(model)
    there = {role: words.get(role) or text for role, text in here.items()}
    texts = [(_rendered(templates.default, talk, here), _rendered(templates.default, talk, there)) for talk in TALKS]
    if isinstance(error := texts[0][0], LocalchatError):
        return Check("template", "noted", f"it cannot be used: {error}")
    if any(isinstance(ours, str) and ours != theirs for ours, theirs in texts):
        what = f"it renders with {here['bos']!r} and {here['eos']!r}, where the checkpoint has "
        return Check("template", "noted", f"{what}{there['bos']!r} and {there['eos']!r}")
    return Check("template", "passed", f"{len(TALKS)} conversations are written as by {templates.source}")


def check_renders(model: ModelFile, fingerprints: Mapping[str, str]) -> Check:
    """The same where the checkpoint is gone: is it the template of the receipt, and can it be used?"""
    if fingerprints.get("template", fingerprint(model)) != fingerprint(model):
        return Check("template", "failed", "the chat template is not the one that the model was installed with")
    template = model.metadata.get(KEY)
    if not isinstance(template, str):
        return Check("template", "noted", "there is none")
    text = _rendered(template, TALKS[0], token_words(model))
    if isinstance(text, LocalchatError):
        return Check("template", "noted", f"it cannot be used: {text}")
    return Check("template", "passed", "it writes a conversation")


def check_stop(model: ModelFile, ends: Sequence[int], answers: Vocabulary) -> tuple[Check, tuple[str, ...]]:
    """Does llama.cpp stop where a turn ends? Also the texts to stop at where no token does.

    `ends` are the ids that end a turn as the checkpoint says, `answers` what llama.cpp says of the vocabulary.
    """
    words, stopping = words_of(model), answers.ends
    deaf = [words.texts[id] for id in ends[:3] if id not in stopping]  # a model file has room for three
    if deaf:
        return Check("stop", "failed", f"llama.cpp would not stop at {deaf[0][:40]!r}, which ends a turn"), ()
    between = _between(model)
    if between is None:
        names = ", ".join(words.texts[id] for id in stopping[:4]) or "nothing"
        return Check("stop", "noted", f"the template does not show how a turn ends; replies stop at {names}"), ()
    known = {words.texts[id]: id for id in answers.special_ids if id not in answers.user_defined}
    first = next((text for text in longest_first(known, between) if between.startswith(text)), None)
    if first is not None:
        return _at_token(first, known[first] in stopping), ()
    return _at_text(between, words, stopping)


def token_words(model: ModelFile) -> dict[str, str]:
    """The texts of the tokens bos and eos; empty where there is none."""
    texts = words_of(model).texts
    ids = {role: model.metadata.get(f"{PREFIX}{role}_token_id") for role in ("bos", "eos")}
    return {role: texts[id] if isinstance(id, int) and id < len(texts) else "" for role, id in ids.items()}


def _at_token(text: str, does_stop: bool) -> Check:
    if does_stop:
        return Check("stop", "passed", f"a turn ends with {text}, where llama.cpp stops")
    return Check("stop", "noted", f"a turn ends with {text}, which is no end for llama.cpp; the model's own end counts")


def _at_text(between: str, words: Words, stopping: Sequence[int]) -> tuple[Check, tuple[str, ...]]:
    line = between.split("\n")[0].rstrip().removesuffix(NEXT).rstrip()
    marker = MARKER.match(line)
    stop = marker[0] if marker else line[:STOP_LIMIT_CHARACTERS]
    if not stop:
        ends = ", ".join(words.texts[id] for id in stopping[:4])
        return Check("stop", "noted", f"the template puts nothing behind a reply; replies stop at {ends}"), ()
    what = f"a turn ends with the text {stop!r}, which is no token of the model, so that text has to stop replies"
    return Check("stop", "repaired", what), (stop,)


def _between(model: ModelFile) -> str | None:
    """What the template writes between a reply and the next question, without space before it."""
    template: Any = model.metadata.get(KEY)
    text = _rendered(template, TALKS[1], token_words(model)) if isinstance(template, str) else None
    if not isinstance(text, str) or REPLY not in text:
        return None
    return text.partition(REPLY)[2].lstrip()


def _rendered(template: str, talk: Sequence[Message], words: Mapping[str, str]) -> str | LocalchatError:
    try:
        return render(template, talk, words["bos"], words["eos"])
    except LocalchatError as error:
        return error
