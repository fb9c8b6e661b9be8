"""Answers on a screen: Markdown as Rich renders it, with what reads badly in a terminal put right."""

from typing import ClassVar

from rich.console import JustifyMethod
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.theme import Theme

THEME = Theme({"markdown.code": "cyan", "markdown.h1": "bold underline", "markdown.h2": "bold"})
"""No backgrounds: they fit either dark screens or light ones."""


class LeftHeading(Heading):
    """A heading that begins where the text does."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {}


class Answer(Markdown):
    """An answer. Models mean their line ends (a poem, an address), and a link's address must be seen before it is followed."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "heading_open": LeftHeading}

    def __init__(self, text: str) -> None:
        super().__init__(text, code_theme="ansi_dark", hyperlinks=False)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"
