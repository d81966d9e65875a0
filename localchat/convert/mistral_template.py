"""The chat template of checkpoints in Mistral's own layout, which keep it in a library instead of a file.

Source of the format: the instruct tokenizers of https://github.com/mistralai/mistral-common, versions 3 and 7. With
SentencePiece a space stands behind each marker, with Tekken none does; version 7 has markers for the system message.
"""

from __future__ import annotations

from localchat.convert.tokenizer.vocab import Vocab

INSTRUCTION, SYSTEM = "[INST]", "[SYSTEM_PROMPT]"

WITH_SYSTEM = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + gap + message['content'] + '[/SYSTEM_PROMPT]' }}
{%- elif message['role'] == 'user' %}{{ '[INST]' + gap + message['content'] + '[/INST]' }}
{%- else %}{{ gap + message['content'] + eos_token }}
{%- endif %}
{%- endfor %}"""
WITHOUT_SYSTEM = """\
{%- set state = namespace(system='') %}
{{- bos_token }}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{% set state.system = message['content'] + '\\n\\n' %}
{%- elif message['role'] == 'user' %}
{{- '[INST]' + gap + state.system + message['content'] + '[/INST]' }}{% set state.system = '' %}
{%- else %}{{ gap + message['content'] + eos_token }}
{%- endif %}
{%- endfor %}"""


def mistral_template(vocab: Vocab) -> str | None:
    """The template that belongs to a vocabulary with Mistral's markers, None to one without them."""
    texts = set(vocab.texts)
    if INSTRUCTION not in texts:
        return None
    gap = "" if vocab.model == "gpt2" else " "
    return f"{{%- set gap = '{gap}' %}}\n" + (WITH_SYSTEM if SYSTEM in texts else WITHOUT_SYSTEM)
