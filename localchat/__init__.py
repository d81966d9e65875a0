"""localchat: published Mistral-family checkpoints become a private chat on this machine."""

__version__ = "0.1.0"
