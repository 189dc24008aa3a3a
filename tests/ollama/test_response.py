"""The headers of a response: names in any case, values as a server writes them."""

from collections.abc import AsyncIterator

import pytest

from ollama_admin.ollama.response import Response


async def nothing() -> AsyncIterator[bytes]:
    for chunk in ():
        yield chunk


def response(*headers: tuple[bytes, bytes]) -> Response:
    return Response(status=200, headers=headers, chunks=nothing())


@pytest.mark.parametrize("name", ["Location", "location", "LOCATION"])
def test_a_header_is_known_by_its_name_in_any_case(name: str) -> None:
    assert response((b"X", b"y"), (b"LocaTion", b"/there")).header(name) == "/there"
    assert response((b"X", b"y"), (b"Location-X", b"/there")).header(name) is None


def test_headers_of_one_name_are_a_list() -> None:
    assert response((b"A", b"1"), (b"B", b"2"), (b"a", b"3")).header("A") == "1, 3"


def test_an_empty_header_is_not_a_missing_one() -> None:
    assert response((b"A", b"")).header("a") == ""


def test_a_value_is_read_as_utf_8_or_else_as_latin_1() -> None:
    headers = response((b"A", "é".encode()), (b"B", "é".encode("latin-1")))
    assert (headers.header("A"), headers.header("B")) == ("é", "é")
