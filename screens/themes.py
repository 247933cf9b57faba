"""The app's themes. Colours of series are chosen to be told apart by colour-blind people (Okabe and Ito 2008)."""

from textual.theme import Theme

SERIES = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#999999")
"""Colours of runs and lines in charts, in the order in which they are given."""

THEMES = (
    Theme(
        name="ft-dark",
        primary="#56b4e9",
        secondary="#009e73",
        accent="#e69f00",
        warning="#f0e442",
        error="#d55e00",
        success="#009e73",
        foreground="#d8dee9",
        background="#101418",
        surface="#171c22",
        panel="#1f262e",
        dark=True,
        variables={"border": "#56b4e9", "border-blurred": "#46525f"},
    ),
    Theme(
        name="ft-light",
        primary="#0072b2",
        secondary="#009e73",
        accent="#b35900",
        warning="#8a6d00",
        error="#b3261e",
        success="#00664a",
        foreground="#1b1f24",
        background="#fbfbf8",
        surface="#f2f2ee",
        panel="#e6e6e0",
        dark=False,
        variables={"border": "#0072b2", "border-blurred": "#b4b4aa"},
    ),
    Theme(
        # Colours that colour-blind people tell apart (Okabe and Ito), on black: contrast at least 7 to 1 but
        # for the error's, which is also bold or has its word beside it wherever it is used.
        name="ft-contrast",
        primary="#56b4e9",
        secondary="#f0e442",
        accent="#e69f00",
        warning="#f0e442",
        error="#ff8a4c",
        success="#7fd6ff",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#26262a",
        dark=True,
        variables={
            "text-muted": "#d0d0d0",
            "border": "#ffffff",
            "border-blurred": "#a0a0a0",
            "block-cursor-background": "#f0e442",
            "block-cursor-foreground": "#000000",
        },
    ),
)
