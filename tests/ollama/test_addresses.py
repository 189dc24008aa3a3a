"""An IPv6 address that has an IPv4 address in it is refused when that one is, however it is
written.
"""

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.errors import AddressRefused
from ollama_admin.ollama.addresses import refuse_address

ONES = 0xFFFF_FFFF
EMBEDDINGS: dict[str, Callable[[int], int]] = {
    "compatible": lambda ipv4: ipv4,
    "mapped": lambda ipv4: 0xFFFF << 32 | ipv4,
    "translated": lambda ipv4: 0xFFFF << 48 | ipv4,
    "NAT64": lambda ipv4: 0x64_FF9B << 96 | ipv4,
    "6to4": lambda ipv4: 0x2002 << 112 | ipv4 << 80 | 1,
    "Teredo server": lambda ipv4: 0x2001 << 112 | ipv4 << 64 | 0x0808_0808 ^ ONES,
    "Teredo client": lambda ipv4: 0x2001 << 112 | 0x0808_0808 << 64 | ipv4 ^ ONES,
    "ISATAP": lambda ipv4: 0x2001_0DB8 << 96 | 0x5EFE << 32 | ipv4,
    "global ISATAP": lambda ipv4: 0x2001_0DB8 << 96 | 0x0200_5EFE << 32 | ipv4,
    "local NAT64 /96": lambda ipv4: 0x64_FF9B_0001 << 80 | ipv4,
    "local NAT64 /64": lambda ipv4: 0x64_FF9B_0001 << 80 | ipv4 << 24,
    "local NAT64 /56": lambda ipv4: (
        0x64_FF9B_0001 << 80 | ipv4 >> 24 << 64 | (ipv4 & 0xFF_FFFF) << 32
    ),
    "local NAT64 /48": lambda ipv4: 0x64_FF9B_0001 << 80 | ipv4 >> 16 << 64 | (ipv4 & 0xFFFF) << 40,
}
NOTATIONS: dict[str, Callable[[ipaddress.IPv6Address], str]] = {
    "short": str,
    "whole": lambda address: address.exploded,
    "upper case": lambda address: address.exploded.upper(),
    "zone": lambda address: f"{address}%eth0",
}
refused = st.one_of(
    st.ip_addresses(network="169.254.0.0/16"),
    st.ip_addresses(network="224.0.0.0/4"),
    st.sampled_from(["100.100.100.200", "168.63.129.16"]).map(ipaddress.ip_address),
)
allowed = st.one_of(
    st.ip_addresses(network="10.0.0.0/8"),
    st.ip_addresses(network="127.0.0.0/8"),
    st.ip_addresses(network="203.0.113.0/24"),
)


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@given(ipv4=refused)
def test_refused_address_inside_another_is_refused(
    embedding: str, notation: str, ipv4: ipaddress.IPv4Address
) -> None:
    address = ipaddress.IPv6Address(EMBEDDINGS[embedding](int(ipv4)))
    with pytest.raises(AddressRefused):
        refuse_address(NOTATIONS[notation](address))


@pytest.mark.parametrize("embedding", [name for name in EMBEDDINGS if "local" not in name])
@given(ipv4=allowed)
def test_allowed_address_inside_another_is_allowed(
    embedding: str, ipv4: ipaddress.IPv4Address
) -> None:
    refuse_address(str(ipaddress.IPv6Address(EMBEDDINGS[embedding](int(ipv4)))))


@pytest.mark.parametrize(
    "text", ["fd00:ec2::23", "fd00:ec2::254", "fd00:42::42", "fd00:c1::a9fe:a9fe", "::a9fe:a9fe"]
)
def test_addresses_of_credentials_of_clouds_are_refused(text: str) -> None:
    with pytest.raises(AddressRefused):
        refuse_address(text)


@pytest.mark.parametrize("text", ["::1", "fd00::1", "2001:db8::1", "fd12:3456::254"])
def test_ordinary_ipv6_addresses_are_allowed(text: str) -> None:
    refuse_address(text)
