"""What a person reads on a page."""

from html.parser import HTMLParser


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def text_of(html: str) -> str:
    """All text of a page, with one space where there are several."""
    parser = _Texts()
    parser.feed(html)
    return " ".join(" ".join(parser.texts).split())
