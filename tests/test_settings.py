import dataclasses

import pytest

from ollama_admin.errors import InvalidInput
from ollama_admin.settings import SETTINGS, Settings

URL = "sqlite:////one.db"
PLAIN = "hunter2"
ALL = {
    "OLLAMA_ADMIN_DATABASE_URL": f"postgresql://u:{PLAIN}@db/name",
    "OLLAMA_ADMIN_SECRET_KEY": PLAIN,
    "OLLAMA_ADMIN_SECRET_KEY_FILE": "/run/key",
    "OLLAMA_ADMIN_PROXY": f"http://u:{PLAIN}@proxy:3128/{PLAIN}",
    "OLLAMA_ADMIN_CA_FILE": "/etc/ca.pem",
    "OLLAMA_ADMIN_RECEIPTS": "off",
    "OLLAMA_ADMIN_API_TOKEN": PLAIN,
    "OLLAMA_ADMIN_DYNAMIC_SERVERS": "registered",
    "OLLAMA_ADMIN_CHECK_EVERY": "30s",
    "OLLAMA_ADMIN_PS_EVERY": "off",
    "OLLAMA_ADMIN_DISCOVER_EVERY": "1h",
}


def test_the_table_has_every_setting_once() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert [setting.field for setting in SETTINGS] == [name for name in fields if name != "sources"]
    assert {setting.variable for setting in SETTINGS} == ALL.keys()
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_every_setting_shows_itself_without_a_secret() -> None:
    settings = Settings.read(ALL)
    assert {setting.name: settings.describe(setting) for setting in SETTINGS} == {
        "database": "set",
        "secret key": "set",
        "secret key file": "/run/key",
        "proxy": "proxy",
        "CA file": "/etc/ca.pem",
        "receipts": "off",
        "API token": "set",
        "dynamic servers": "registered",
        "checks": "30 s",
        "loaded models": "off",
        "discovery": "3600 s",
    }
    assert PLAIN not in repr(settings)


def test_every_setting_says_where_it_comes_from() -> None:
    assert {s.variable: Settings.read(ALL).source_of(s) for s in SETTINGS} == {
        name: name for name in ALL
    }
    sources = [Settings.read({}, URL).source_of(setting) for setting in SETTINGS]
    assert sources == ["option"] + ["default"] * (len(SETTINGS) - 1)


@pytest.mark.parametrize(
    "variable", ["OLLAMA_ADMIN_SECRET_KEY_FILE", "OLLAMA_ADMIN_PROXY", "OLLAMA_ADMIN_CA_FILE"]
)
def test_an_empty_variable_is_the_same_as_none_where_nothing_else_is_meant(variable: str) -> None:
    assert Settings.read({variable: ""}, URL) == Settings.read({}, URL)


@pytest.mark.parametrize("variable", ["OLLAMA_ADMIN_DATABASE_URL", "OLLAMA_ADMIN_API_TOKEN"])
def test_an_empty_variable_is_refused_where_it_would_be_a_mistake(variable: str) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        Settings.read({variable: ""})


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
