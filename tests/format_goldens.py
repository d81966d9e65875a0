"""Writes tests/data/formats: what each format of the catalog is in token ids, by tools that are not ours.

    python tests/format_goldens.py [MODEL.gguf]

It wants transformers 4.46 with sentencepiece, and for MODEL, the file of smollm2, gguf too; none of them is needed
to run the tests. Texts are rendered with templates as they were published, or put together as model cards describe
the format, and tokenized with the vocabulary of tests/data/chatml and the tokens that a model adds to it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from template_texts import CHATML, MISTRAL, ZEPHYR

DATA = Path(__file__).parent / "data"
FORMATS = DATA / "formats"
BASE = DATA / "chatml" / "tokenizer.model"
PIECES = 1024  # of the base; added tokens follow

TALK = (
    ("system", "Answer briefly."),
    ("user", "Who wrote Faust?"),
    ("assistant", "Goethe, in 1808: Größe in two parts."),
    ("user", "And 2 + 2?\n\n- as a list\n- in words 😀"),
    ("assistant", "Four."),
    ("user", "Thank you."),
)
"""Three turns with a system message."""


@dataclass(frozen=True)
class Golden:
    """One format with one vocabulary."""

    entries: tuple[str, ...]
    """The models of the catalog that it is the format of."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Tokens beyond those of the base, or in the place of one."""
    eos: str = "</s>"
    template: str = ""
    """The published template, for models whose repository has it and the catalog therefore not."""
    text: str = ""
    ids: tuple[int, ...] = ()


OWN = {"<|im_end|>": 1024, "<|im_start|>": 1025}
INST_V1 = MISTRAL.replace("+ eos_token}}", "+ eos_token + ' ' }}")
INST_V3 = MISTRAL.replace("' [/INST]'", "'[/INST]'").replace("{{ message['content'] +", "{{ ' ' + message['content'] +")
MIXTRAL = MISTRAL.replace("'[INST] '", "' [INST] '").replace("{{ message['content'] +", "{{ ' ' + message['content'] +")
# Published templates and, by role, the texts that cards give; {} is the message, the last one asks for the reply.
OPENCHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}"
)
LLAMA_2 = (
    "{% set talk = messages[1:] %}{% for message in talk %}{% if loop.index0 == 0 %}"
    "{% set content = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
Headed = tuple[str, str, str, str]
ALPACA: Headed = ("{}\n\n", "### Instruction:\n\n{}\n\n", "### Response:\n{}</s>\n\n", "### Response:\n")
SYNTHIA: Headed = ("SYSTEM: {}\n", "USER: {}\n", "ASSISTANT: {}</s>\n", "ASSISTANT:")
NEURAL: Headed = ("### System:\n{}\n", "### User:\n{}\n", "### Assistant:\n{}</s>\n", "### Assistant:\n")
OPENORCA_1K: Headed = ("### System:\n{}\n\n", "### User:\n{}\n\n", "### Response:\n{}</s>\n\n", "### Response:\n")

REFERENCES: dict[str, tuple[str | Headed, Golden]] = {
    "chatml": (CHATML, Golden((
        "dolphin-2.1-mistral-7b", "dolphin-2.2.1-mistral-7b", "dolphin-2.8-mistral-7b-v02", "dolphin-2.5-mixtral-8x7b",
        "openorca-mistral-7b", "slimorca-mistral-7b", "samantha-1.2-mistral-7b", "jackalope-7b",
        "openhermes-2.5-mistral-7b",
    ), OWN, "<|im_end|>", CHATML)),
    "chatml-plain": (CHATML, Golden(("dolphin-2.0-mistral-7b", "slimopenorca-mistral-7b"))),
    "chatml-end-is-2": (CHATML, Golden(
        ("dolphin-2.6-mistral-7b",), {"<|im_end|>": 2, "<|im_start|>": 1024}, "<|im_end|>"
    )),
    "chatml-reversed": (CHATML, Golden(
        ("orca-2-13b",), {"[PAD]": 1024, "<|im_start|>": 1025, "<|im_end|>": 1026}
    )),
    "zephyr": (ZEPHYR, Golden(("zephyr-7b-alpha", "zephyr-7b-beta"), template=ZEPHYR)),
    "inst-v0.1": (INST_V1, Golden(("mistral-7b-instruct-v0.1",), template=INST_V1)),
    "inst-v0.2": (MISTRAL, Golden(("mistral-7b-instruct-v0.2",), template=MISTRAL)),
    "inst-v0.3": (INST_V3, Golden(("mistral-7b-instruct-v0.3",), {"[INST]": 1024, "[/INST]": 1025}, template=INST_V3)),
    "inst-mixtral": (MIXTRAL, Golden(("mixtral-8x7b-instruct-v0.1",), template=MIXTRAL)),
    "openchat": (OPENCHAT, Golden(
        ("openchat-3.5",), {"<|end_of_turn|>": 1024, "<|pad_0|>": 1025}, "<|end_of_turn|>"
    )),
    "llama-2": (LLAMA_2, Golden(("guanaco1k-ep2-mistral-7b",))),
    "alpaca": (ALPACA, Golden(("open-platypus-mistral-7b",))),
    "synthia": (SYNTHIA, Golden(("synthia-7b-v1.3",))),
    "neural-chat": (NEURAL, Golden(("neural-chat-7b-v3-1",))),
    "openorca-1k": (OPENORCA_1K, Golden(("openorca-1k-mistral-7b",), {"[PAD]": 1024})),
}  # fmt: skip


def read() -> dict[str, Golden]:
    """All goldens by their names."""
    found = {}
    for path in sorted(FORMATS.glob("*.json")):
        raw = json.loads(path.read_text("utf-8"))
        found[path.stem] = Golden(**{**raw, "entries": tuple(raw["entries"]), "ids": tuple(raw["ids"])})
    return found


def settings(golden: Golden) -> dict[str, Any]:
    """tokenizer_config.json of a checkpoint with this vocabulary."""
    texts = {0: "<unk>", 1: "<s>", 2: "</s>"} | {number: text for text, number in golden.tokens.items()}
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {
        "add_bos_token": True, "add_eos_token": False, "legacy": True, "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>", "eos_token": golden.eos, "unk_token": "<unk>",
        "added_tokens_decoder": {
            str(number): {"content": text, "special": True, **flags} for number, text in texts.items()
        },
    }  # fmt: skip


def folded(talk: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The system message in front of the first question, for formats without a place for it."""
    (_, system), (role, first), *rest = talk
    return [(role, f"{system}\n\n{first}"), *rest]


def _rendered(reference: str | Headed, tokenizer: Any) -> str:
    if not isinstance(reference, str):
        roles = dict(zip(("system", "user", "assistant"), reference[:3], strict=True))
        return "".join([*(roles[role].format(text) for role, text in TALK), reference[3]])
    talk = folded(TALK) if "raise_exception" in reference else TALK
    said = [{"role": role, "content": text} for role, text in talk]
    found: str = tokenizer.apply_chat_template(
        said, chat_template=reference, tokenize=False, add_generation_prompt=True
    )
    return found


def _made(reference: str | Headed, golden: Golden) -> dict[str, Any]:
    from transformers import LlamaTokenizer  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(BASE.read_bytes())
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(settings(golden)))
        tokenizer = LlamaTokenizer.from_pretrained(folder)
    text = _rendered(reference, tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=not text.startswith("<s>"))
    return {**asdict(golden), "text": text, "ids": ids}


def _smollm2(path: str) -> dict[str, Any]:
    """Byte-level BPE, put together from the words and merges of the model file."""
    import tokenizers  # type: ignore[import-not-found]
    from gguf import GGUFReader
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    fields = GGUFReader(path).fields
    words = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE({word: at for at, word in enumerate(words)}, merges))
    split = tokenizers.pre_tokenizers
    bpe.pre_tokenizer = split.Sequence([split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)])
    kinds = fields["tokenizer.ggml.token_type"].contents()
    bpe.add_special_tokens([word for word, kind in zip(words, kinds, strict=True) if kind == 3])
    source = fields["tokenizer.chat_template"].contents()
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    text = template.render(messages=[{"role": r, "content": t} for r, t in TALK], add_generation_prompt=True)
    return {
        **asdict(Golden(("smollm2",), eos="<|im_end|>")),
        "text": text,
        "ids": bpe.encode(text, add_special_tokens=False).ids,
    }


def _write(name: str, made: Mapping[str, Any]) -> None:
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in made.items())
    (FORMATS / f"{name}.json").write_text(f"{{\n{lines}\n}}\n", "utf-8")


if __name__ == "__main__":
    FORMATS.mkdir(exist_ok=True)
    for name, (reference, golden) in REFERENCES.items():
        _write(name, _made(reference, golden))
    for path in sys.argv[1:]:
        _write("smollm2", _smollm2(path))
