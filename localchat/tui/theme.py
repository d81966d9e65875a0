"""The app's own colors: dark, light, and for terminals of 16 colors. They carry meaning only beside words.

Text of less weight is `$foreground-muted`, which is readable on every background of these themes; a share of
`$foreground` need not be. The backgrounds are nearly gray, for with 256 colors a bluish dark one would become navy.
"""

from __future__ import annotations

from collections.abc import Collection

from textual.theme import Theme

DARK = Theme(
    name="localchat",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#e0af68",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#d5dcf0",
    background="#15171c",
    surface="#1d1f27",
    panel="#262932",
    dark=True,
    variables={
        "foreground-muted": "#98a1be",
        "text-muted": "#98a1be",
        "block-cursor-background": "#252e55",
        "block-cursor-foreground": "#e6ebfa",
        "block-cursor-text-style": "none",
        "footer-background": "#15171c",
        "footer-key-foreground": "#7aa2f7",
        "footer-description-foreground": "#98a1be",
        "border": "#3b4566",
        "border-blurred": "#31353f",
        "input-selection-background": "#7aa2f7 35%",
    },
)

LIGHT = Theme(
    name="localchat-light",
    primary="#2a57b0",
    secondary="#7040b8",
    accent="#805210",
    success="#3a6b00",
    warning="#805210",
    error="#b02a42",
    foreground="#232841",
    background="#f6f7fb",
    surface="#eeeff2",
    panel="#e1e3e8",
    dark=False,
    variables={
        "foreground-muted": "#555c77",
        "text-muted": "#555c77",
        "block-cursor-background": "#cfd8ee",
        "block-cursor-foreground": "#1c2030",
        "block-cursor-text-style": "none",
        "footer-background": "#f6f7fb",
        "footer-key-foreground": "#2a57b0",
        "footer-description-foreground": "#555c77",
        "border": "#9aa5c4",
        "border-blurred": "#c6cddf",
        "input-selection-background": "#2a57b0 25%",
    },
)

SIXTEEN = Theme(
    name="localchat-16",
    ansi=True,
    primary="ansi_bright_blue",
    secondary="ansi_magenta",
    accent="ansi_yellow",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    variables={
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "border": "ansi_bright_black",
        "border-blurred": "ansi_bright_black",
        "block-cursor-foreground": "ansi_bright_white",
        "block-cursor-background": "ansi_blue",
        "block-cursor-text-style": "none",
        "footer-key-foreground": "ansi_bright_blue",
        "input-cursor-background": "ansi_white",
        "input-cursor-foreground": "ansi_black",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_white",
    },
)

OWN = (DARK, LIGHT, SIXTEEN)
FEW_COLORS = ("standard", "windows")
"""What Rich calls terminals of 16 colors."""


def theme_names(available: Collection[str]) -> list[str]:
    """The themes as they are listed: ours, then those of Textual."""
    own = [theme.name for theme in OWN]
    return [*own, *sorted(set(available) - set(own))]


def theme_for(wanted: str, available: Collection[str], color_system: str | None) -> str:
    """The theme to wear: what was wanted, but ours in 16 colors where the terminal has no more; ours for an unknown."""
    name = wanted if wanted in available else DARK.name
    return SIXTEEN.name if color_system in FEW_COLORS and name in (DARK.name, LIGHT.name) else name
