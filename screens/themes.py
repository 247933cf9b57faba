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
    ),
)
