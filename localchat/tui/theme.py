"""The app's own colors, dark and light. They carry meaning only beside words, and survive 256 colors."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="localchat",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#e0af68",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#c8d0e8",
    background="#14161f",
    surface="#1a1d29",
    panel="#232737",
    dark=True,
    variables={
        "block-cursor-background": "#2d3650",
        "block-cursor-foreground": "#e6ebfa",
        "block-cursor-text-style": "none",
        "footer-background": "#14161f",
        "footer-key-foreground": "#7aa2f7",
        "footer-description-foreground": "#8089a8",
        "border": "#3b4566",
        "border-blurred": "#2a3045",
        "input-selection-background": "#7aa2f7 35%",
    },
)

LIGHT = Theme(
    name="localchat-light",
    primary="#2e5cb8",
    secondary="#7847bd",
    accent="#8f5e15",
    success="#487e02",
    warning="#8f5e15",
    error="#c0364c",
    foreground="#2b3048",
    background="#f6f7fb",
    surface="#eceef5",
    panel="#dfe3ee",
    dark=False,
    variables={
        "block-cursor-background": "#cfd8ee",
        "block-cursor-foreground": "#1c2030",
        "block-cursor-text-style": "none",
        "footer-background": "#f6f7fb",
        "footer-key-foreground": "#2e5cb8",
        "footer-description-foreground": "#5d6480",
        "border": "#9aa5c4",
        "border-blurred": "#c6cddf",
        "input-selection-background": "#2e5cb8 25%",
    },
)
