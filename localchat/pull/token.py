"""The user's token of the Hub, where it may be sent."""

from __future__ import annotations


def token() -> str | None:
    """What the environment or a saved login says; nothing where HF_HUB_DISABLE_IMPLICIT_TOKEN forbids to send it."""
    from huggingface_hub import get_token

    return None if is_forbidden() else get_token()


def is_forbidden() -> bool:
    """Does the user want no token to be sent?"""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_DISABLE_IMPLICIT_TOKEN)
