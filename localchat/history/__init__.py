"""Conversations, kept so that nothing that was shown is ever lost."""
