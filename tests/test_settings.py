import pytest

from ollama_admin.errors import InvalidInput
from ollama_admin.settings import Settings

URL = "sqlite:////one.db"


@pytest.mark.parametrize("environ", [{}, {"OLLAMA_ADMIN_RECEIPTS": "on"}])
def test_receipts_are_on_unless_they_are_turned_off(environ: dict[str, str]) -> None:
    assert Settings.read(environ, URL).receipts is True


def test_receipts_are_turned_off() -> None:
    assert Settings.read({"OLLAMA_ADMIN_RECEIPTS": "off"}, URL).receipts is False


@pytest.mark.parametrize("value", ["", "OFF", "0", "false", " off", "off\n", "\x1b[31m"])
def test_anything_but_on_and_off_is_refused_and_both_are_named(value: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"^OLLAMA_ADMIN_RECEIPTS is .+, neither on nor off$"
    ) as refused:
        Settings.read({"OLLAMA_ADMIN_RECEIPTS": value}, URL)
    assert refused.value.exit_code == 2
    assert refused.value.message.isprintable()
