"""Arguments from Python are of the types that their names have."""

from typing import Any

import pytest

from ollama_admin.errors import InvalidInput
from ollama_admin.rules.arguments import check, need


def refusal(asked: Any, **arguments: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        asked(**arguments)
    return str(caught.value.message)


@pytest.mark.parametrize("asked", [check, need])
def test_each_argument_is_checked_by_its_name(asked: Any) -> None:
    asked(name="a", servers=["one", 2], timeout=1, is_active=True)
    assert refusal(asked, name=1) == "name is of type int, not text"
    assert refusal(asked, name="a", timeout=True) == "timeout is of type bool, not a number"
    assert refusal(asked, servers="one") == "servers is of type str, not a list"
    assert refusal(asked, servers=[1.5]) == "servers[0] is of type float, not a name or a number"


def test_none_is_as_if_it_were_not_given_unless_it_is_needed() -> None:
    check(name=None, servers=None)
    assert refusal(check, name=None, url=1) == "url is of type int, not text"
    assert refusal(need, name="a", url=None) == "url is not given"
