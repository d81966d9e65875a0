"""Chat templates: programs that come with a model and are not to be trusted, so a process with limits renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localchat.child import ChildDied, Service
from localchat.conversation import Message
from localchat.errors import LocalchatError

SOURCE_LIMIT_CHARACTERS = 64 << 10
MESSAGES_LIMIT_BYTES = 16 << 20  # of UTF-8: four million tokens
ANSWER_LIMIT_BYTES = 256 << 20  # escaped as JSON, a text may be six times as long
# What is limited more narrowly is the processor's time; this is for a machine that is busy with other things.
RENDER_SECONDS = 5.0

NO_TEMPLATE_HINT = "choose a model that was tuned for chat; this one only continues text"
FAULT_HINT = "the model is at fault: choose another"

RENDERER = Service("localchat.prompt.renderer", ANSWER_LIMIT_BYTES)


def render(
    template: str | None, messages: Sequence[Message], bos: str, eos: str, tools: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The text that asks the model for the next message of the assistant.

    A system message that the template refuses or leaves out is folded into the first question, and neighbors of one
    role are merged where it wants them to alternate. Raises LocalchatError where nothing helps, and where the template
    takes too long or too much memory, or writes too much.
    """
    if template is None:
        raise LocalchatError("the model has no chat template, so it cannot be asked questions", NO_TEMPLATE_HINT)
    if len(template) > SOURCE_LIMIT_CHARACTERS:
        raise LocalchatError(
            "the model's chat template is longer than 64 KiB, which no real one is", "do not trust this model file"
        )
    if sum(len(message.text.encode("utf-8", "replace")) for message in messages) > MESSAGES_LIMIT_BYTES:
        raise LocalchatError("the conversation is longer than any model could read", "shorten it")
    question = {
        "template": template, "bos": bos, "eos": eos, "tools": list(tools),
        "messages": [[message.role, message.text] for message in messages],
    }  # fmt: skip
    try:
        return str(RENDERER.ask(question, RENDER_SECONDS)["text"])
    except ChildDied as error:
        raise LocalchatError(f"the model's chat template fails on this conversation ({error})", FAULT_HINT) from error
