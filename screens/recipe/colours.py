"""The colours of a recipe's text, from the app's theme."""

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color


def syntax_styles(variables: Mapping[str, str]) -> dict[str, Style]:
    """Rich styles by the names of tree-sitter's YAML query, from a theme's colours."""

    def style(name: str, bold: bool = False, italic: bool = False, share: float = 1.0) -> Style:
        back = Color.parse(variables["surface"])
        colour = back.blend(Color.parse(variables[name]), share, 1.0)
        return Style(color=colour.hex6, bold=bold or None, italic=italic or None)

    value = style("accent")
    return {
        "yaml.field": style("primary"),
        "string": style("foreground"),
        "string.escape": value,
        "number": value,
        "boolean": value,
        "constant.builtin": value,
        "comment": style("foreground", italic=True, share=0.6),
        "type": style("secondary"),
        "preproc": style("secondary"),
        "punctuation.delimiter": style("foreground", share=0.6),
        "punctuation.bracket": style("foreground", share=0.75),
        "punctuation.special": style("secondary"),
    }
