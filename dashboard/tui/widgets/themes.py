"""The looks. Colour only repeats what glyph and word say; `colour-blind` uses Okabe and Ito's palette."""

from textual.theme import BUILTIN_THEMES, Theme

THEMES: tuple[Theme, ...] = (
    Theme(
        name="night",
        primary="#6cb6ff",
        secondary="#3d6fa3",
        accent="#e0c080",
        success="#5fd38d",
        warning="#f2b84b",
        error="#ff6e6e",
        foreground="#dbe2ea",
        background="#11161d",
        surface="#11161d",
        panel="#1a212b",
        variables={"row": "#26313f", "dim": "#8796a8", "faint": "#4a5866"},
    ),
    Theme(
        name="light",
        primary="#0b62b0",
        secondary="#5f86ad",
        accent="#8a5a00",
        success="#117a3b",
        warning="#a35a00",
        error="#b3161f",
        foreground="#1c232b",
        background="#fbfaf6",
        surface="#fbfaf6",
        panel="#ece9e0",
        variables={"row": "#dde6f0", "dim": "#66707b", "faint": "#b3b8b8"},
        dark=False,
    ),
    # Okabe and Ito (2008): told apart with every common colour vision. Blue is calm, orange a warning, magenta is bad.
    Theme(
        name="colour-blind",
        primary="#56b4e9",
        secondary="#0072b2",
        accent="#f0e442",
        success="#56b4e9",
        warning="#e69f00",
        error="#ff8fc8",
        foreground="#e6e6e6",
        background="#101418",
        surface="#101418",
        panel="#1b2026",
        variables={"row": "#2a323b", "dim": "#98a2ad", "faint": "#525d68"},
    ),
    # The terminal's own sixteen colours; with NO_COLOR it has none, and the cursor is shown in reverse.
    Theme(
        name="terminal",
        primary="ansi_cyan",
        secondary="ansi_blue",
        accent="ansi_default",
        success="ansi_green",
        warning="ansi_yellow",
        error="ansi_red",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        variables=BUILTIN_THEMES["ansi-dark"].variables
        | {"row": "ansi_default", "dim": "ansi_default", "faint": "ansi_bright_black"},
        ansi=True,
    ),
)

NAMES = tuple(theme.name for theme in THEMES)
DEFAULT = "night"
PLAIN = "terminal"
"""The one for NO_COLOR."""
