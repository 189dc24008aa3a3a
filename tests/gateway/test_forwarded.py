"""Proxies before `serve`: whose word about a client's address is believed, and whose is not."""

from collections.abc import Sequence
from typing import Any

import pytest

from ollama_admin.errors import InvalidInput
from ollama_admin.gateway.forwarded import Forwarded, proxies_of
from tests.api.service import Service
from tests.cli.running import Cli

OFFICE = "10.0.0.0/8"
PROXIES = ("127.0.0.1", "192.0.2.0/24, 2001:db8::/32")
Lines = Sequence[tuple[str, str]]


async def told(peer: str | None, lines: Lines, proxies: tuple[str, ...] = PROXIES) -> Any:
    """The address and the scheme that the application behind is told."""
    heard: list[dict[str, Any]] = []

    async def behind(scope: dict[str, Any], *_: object) -> None:
        heard.append(scope)

    headers = [(name.lower().encode(), value.encode()) for name, value in lines]
    client = (peer, 4711) if peer is not None else None
    scope = {"type": "http", "client": client, "scheme": "http", "headers": headers}
    await Forwarded(behind, proxies_of(proxies))(scope, None, None)
    (after,) = heard
    return after["client"] and after["client"][0], after["scheme"]


FOR = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [(FOR, "10.1.2.3")], "10.1.2.3"),
        ("::ffff:127.0.0.1", [(FOR, "10.1.2.3")], "10.1.2.3"),
        ("127.0.0.1", [(FOR, "10.1.2.3:5000")], "10.1.2.3"),
        ("127.0.0.1", [(FOR, "[fd00::1]:5000")], "fd00::1"),
        ("127.0.0.1", [(FOR, "fd00::1")], "fd00::1"),
        ("127.0.0.1", [(FOR, "::ffff:10.1.2.3")], "10.1.2.3"),
        # what the client itself wrote stands first, and is not believed
        ("127.0.0.1", [(FOR, "10.1.2.3, 198.51.100.7")], "198.51.100.7"),
        ("127.0.0.1", [(FOR, "10.1.2.3"), (FOR, "198.51.100.7")], "198.51.100.7"),
        ("127.0.0.1", [(FOR, "10.9.9.9, 10.1.2.3, 192.0.2.5, 2001:db8::1")], "10.1.2.3"),
        ("127.0.0.1", [(FOR, "192.0.2.9, 192.0.2.5")], "192.0.2.9"),
        # no address: the client's is not known, and no network has it
        ("127.0.0.1", [(FOR, "10.1.2.3, unknown")], None),
        ("127.0.0.1", [(FOR, "")], None),
        ("127.0.0.1", [(FOR, "10.1.2.3, unknown, 192.0.2.5")], None),
        # somebody else's word
        ("203.0.113.9", [(FOR, "10.1.2.3")], "203.0.113.9"),
        ("10.1.2.3", [(FOR, "127.0.0.1")], "10.1.2.3"),
        (None, [(FOR, "10.1.2.3")], None),
    ],
)
async def test_the_address_is_the_last_one_that_is_no_trusted_proxys(
    peer: str | None, lines: Lines, address: str | None
) -> None:
    assert (await told(peer, lines))[0] == address


@pytest.mark.parametrize(
    ("peer", "lines", "scheme"),
    [
        ("127.0.0.1", [("X-Forwarded-Proto", "https")], "https"),
        ("127.0.0.1", [("X-Forwarded-Proto", "https, http")], "http"),
        ("127.0.0.1", [("X-Forwarded-Proto", "gopher")], "http"),
        ("203.0.113.9", [("X-Forwarded-Proto", "https")], "http"),
    ],
)
async def test_the_scheme_is_what_a_trusted_proxy_says(
    peer: str, lines: Lines, scheme: str
) -> None:
    assert (await told(peer, lines))[1] == scheme


@pytest.mark.parametrize("word", ["*", "", "proxy.example", "10.0.0.0/99", "127.0.0.1,"])
def test_what_names_no_proxy_is_refused_at_the_start(word: str) -> None:
    with pytest.raises(InvalidInput, match="no address and no network"):
        proxies_of([word])
    ran = Cli()("serve", "--forwarded-allow-ips", word, "--port", "0")
    assert ran.exit_code == 2


def status(service: Service, *headers: tuple[str, str]) -> int:
    """Of a request without a key."""
    with service.client(headers=[("Host", "localhost"), *headers]) as client:
        return client.get("/v1/models").status_code


def anonymous_key(service: Service) -> None:
    assert service.opened is not None
    service.run(service.opened.keys.add(name="office", anonymous=True, networks=[OFFICE]))


def test_a_keys_network_is_that_of_the_client_behind_a_trusted_proxy(database_url: str) -> None:
    with Service(database_url, proxies=("127.0.0.1",)) as service:
        anonymous_key(service)
        assert status(service, (FOR, "10.1.2.3")) == 200
        assert status(service, (FOR, "198.51.100.7")) == 401
        assert status(service, (FOR, "10.1.2.3, 198.51.100.7")) == 401
        assert status(service) == 401


def test_nobodys_word_is_believed_unless_that_was_asked_for(database_url: str) -> None:
    with Service(database_url) as service:
        anonymous_key(service)
        assert status(service, (FOR, "10.1.2.3")) == 401
