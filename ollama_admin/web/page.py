"""What a page is made of: the menu and the routes are made from it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from ollama_admin.domain.keys import Key, Right
from ollama_admin.web.visit import Visit

Answer = Callable[[Visit], Awaitable[Response]]
Part = Callable[[Visit], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is answered at a path, `{name}` in it as Starlette's routes have it, to whoever has the
    right, or `other`, one that will do, too. A POST is a change: its form is read with
    `Visit.form`, which checks where it comes from.
    """

    path: str
    answer: Answer
    right: Right
    other: Right | None = None
    method: str = "GET"

    def is_for(self, key: Key) -> bool:
        """Whether a key opens it."""
        return key.may(self.right) or (self.other is not None and key.may(self.other))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An entry of the menu, for those who have the right to its first view; the path of that one
    begins with `/ui/NAME`.

    `live` gives the HTML of the part that changes, for `/ui/events?page=NAME`. It is worked out
    once for all who may see the same, so there may be nothing of one session in it: buttons in it
    belong to the form `change` of the layout (`<button form="change" formaction="...">`). With
    `of_key` keys see different things there, whatever they may.
    """

    name: str
    title: str
    views: Sequence[View]
    live: Part | None = None
    of_key: bool = False

    @property
    def path(self) -> str:
        return self.views[0].path

    @property
    def right(self) -> Right:
        return self.views[0].right

    def is_for(self, key: Key) -> bool:
        """Whether a key opens it."""
        return self.views[0].is_for(key)
