"""The template of checkpoints in Mistral's own layout: what mistral-common puts together, marker by marker."""

from __future__ import annotations

import pytest

from localchat.conversation import Message
from localchat.convert.mistral_template import mistral_template
from localchat.convert.tokenizer.vocab import Vocab
from localchat.prompt.template import render

ASKED = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")]
V3 = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
V7 = [*V3, "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]


def vocab(texts: list[str], model: str) -> Vocab:
    return Vocab(texts, [0.0] * len(texts), [3] * len(texts), {"bos": 1, "eos": 2}, model=model)


@pytest.mark.parametrize(
    ("texts", "model", "text"),
    [
        (V3, "llama", "<s>[INST] Be kind.\n\nHi[/INST] Hello</s>[INST] Bye[/INST]"),
        (V3, "gpt2", "<s>[INST]Be kind.\n\nHi[/INST]Hello</s>[INST]Bye[/INST]"),
        (V7, "llama", "<s>[SYSTEM_PROMPT] Be kind.[/SYSTEM_PROMPT][INST] Hi[/INST] Hello</s>[INST] Bye[/INST]"),
        (V7, "gpt2", "<s>[SYSTEM_PROMPT]Be kind.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello</s>[INST]Bye[/INST]"),
    ],
)
def test_the_markers_stand_as_each_version_has_them(texts: list[str], model: str, text: str) -> None:
    template = mistral_template(vocab(texts, model))
    assert template is not None
    assert render(template, ASKED, "<s>", "</s>") == text


def test_a_vocabulary_without_markers_has_no_template() -> None:
    assert mistral_template(vocab(["<unk>", "<s>", "</s>"], "llama")) is None
