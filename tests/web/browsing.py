"""A person at the pages, without a browser: cookies are kept, forms are sent as they are."""

import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tests.api.service import TOKEN, Service

SESSION = "ollama_admin_session"


class Person:
    def __init__(self, service: Service) -> None:
        self.http = service.client(headers={"Accept": "text/html", "Origin": service.url})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()

    def sign_in(self, key: str = TOKEN, to: str = "/ui/") -> httpx.Response:
        return self.http.post("/ui/sign-in", data={"key": key, "next": to})

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def send(
        self, path: str, fields: Mapping[str, Any] | None = None, page: str = "/ui/fleet"
    ) -> httpx.Response:
        """Send a form with the token that stands in a page."""
        return self.http.post(
            path, data={"csrf": csrf_of(self.get(page).text)} | dict(fields or {})
        )

    def csrf(self, page: str = "/ui/fleet") -> str:
        """The token that stands in the forms of a page."""
        return csrf_of(self.get(page).text)

    @property
    def session(self) -> str:
        return str(self.http.cookies[SESSION])


def signed_in(service: Service, key: str = TOKEN) -> Person:
    """A person who has signed in."""
    person = Person(service)
    assert person.sign_in(key).status_code == 303
    return person


def csrf_of(html: str) -> str:
    match = re.search(r'name="csrf" value="([0-9a-f]{64})"', html)
    assert match is not None, html
    return match[1]


def new_key(
    service: Service, name: str = "team", can: Sequence[str] = ("ask",), **more: Any
) -> str:
    """The text of a new key."""
    assert service.opened is not None
    return service.run(service.opened.keys.add(name=name, can=can, **more)).text.reveal()
