"""Where the API never connects to: judged by the address that was connected to, whatever name led
there.
"""

import ipaddress
import socket
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import AddressRefused
from ollama_admin.ollama import addresses, raw_http
from tests.api.conftest import Serve, register
from tests.api.service import Service
from tests.fake_ollama import redirect

REFUSED = [
    *(
        "169.254.169.254",
        "169.254.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
    ),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254"),
    *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
]
ALLOWED = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "172.16.0.1",
    "100.64.0.1",
    "8.8.8.8",
    "::1",
    "fd00::1",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_never_servers_are_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        addresses.refuse_address(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_addresses_of_machines_are_allowed(address: str) -> None:
    addresses.refuse_address(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[fe80::1]",
        "http://224.0.0.1:11434",
        "https://100.100.100.200",
    ],
)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_url_with_such_an_address_is_refused_without_a_connection(
    shared_api: Service, monkeypatch: pytest.MonkeyPatch, url: str, path: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it connects")

    monkeypatch.setattr("anyio.connect_tcp", never)
    asked = (
        {"prompt": "hi"}
        if path.endswith("generate")
        else {"messages": [{"role": "user", "content": "hi"}]}
    )
    refused = shared_api.ask("POST", path, {"model": "alpha", "server_url": url, **asked})
    assert (refused.status_code, refused.json()["code"]) == (400, "address_refused")


def test_a_name_that_leads_there_is_refused_before_anything_is_sent(
    sqlite_api: Service, fakes: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is a real one, to a server that then looks as if it had such an address."""
    fake = fakes("alpha")
    monkeypatch.setattr(
        addresses, "_METADATA", (*addresses._METADATA, ipaddress.ip_network("127.0.0.1"))
    )
    url = f"http://localhost:{fake.url.rpartition(':')[2]}"
    refused = sqlite_api.ask(
        "POST", "/api/generate", {"model": "alpha", "prompt": "hi", "server_url": url}
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "address_refused")
    added = sqlite_api.ask("POST", "/api/servers", {"name": "rebound", "url": url}).json()
    for action in ("check", "discover"):
        [result] = sqlite_api.ask("POST", f"/api/servers/{added['id']}/{action}").json()["results"]
        assert result["error"]["code"] == "address_refused"
    assert fake.requests() == []


def test_a_name_that_changes_its_address_between_two_looks_gains_nothing(
    sqlite_api: Service, fakes: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second look-up on the name leads to a refused address: what was allowed once does
    not count.
    """
    fake, looked, look_up = fakes("alpha"), [], socket.getaddrinfo

    def rebound(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in ("rebind.test", b"rebind.test"):
            return look_up(host, port, *args, **more)
        looked.append(len(fake.requests()))
        if len(looked) == 2:
            monkeypatch.setattr(
                addresses, "_METADATA", (*addresses._METADATA, ipaddress.ip_network("127.0.0.1"))
            )
        return look_up("127.0.0.1", port, *args, **more)

    # each request looks it up anew
    monkeypatch.setattr(raw_http, "KEPT", -1)
    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    url = f"http://rebind.test:{fake.url.rpartition(':')[2]}"
    body = {"model": "alpha", "prompt": "hi", "server_url": url, "stream": False}
    assert sqlite_api.ask("POST", "/api/generate", body).json()["code"] == "address_refused"
    assert looked[0] == 0
    assert len(fake.requests()) == looked[1]  # nothing was sent after the second look-up


def test_a_redirect_is_not_followed(sqlite_api: Service, fakes: Serve) -> None:
    fake, other = fakes("alpha"), fakes("alpha")
    register(sqlite_api, fake)
    fake.call(lambda: fake.fakes[0].script("/api/generate", redirect(f"{other.url}/api/generate")))
    refused = sqlite_api.ask("POST", "/api/generate", {"model": "alpha", "prompt": "hi"})
    assert (refused.status_code, refused.json()["code"]) == (502, "upstream_error")
    assert other.requests() == []


async def test_whoever_owns_the_machine_may_go_anywhere(sqlite_url: str) -> None:
    async with Client(database_url=sqlite_url, environ={}) as client:
        assert client._caller.rights.any_address
        http = client._resources.http
        assert "trace" not in http._extensions(None, any_address=True)
        assert "trace" in http._extensions(None, any_address=False)
