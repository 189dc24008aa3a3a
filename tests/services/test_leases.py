"""A slot that a process holds, by itself; with the database: `test_slots`."""

import pytest

from ollama_admin.services import leases
from ollama_admin.services.leases import Held, Lease, LeaseTimes
from ollama_admin.store.clocks import LONGEST_TTL
from ollama_admin.store.slots import LeaseKey
from tests.rules.rows import server

KEY = LeaseKey(server_id=1, slot=2, token=3)


def test_a_lease_that_could_live_for_too_long_is_refused() -> None:
    LeaseTimes(ttl=LONGEST_TTL)
    with pytest.raises(ValueError, match=f"at most {LONGEST_TTL:g} s without being renewed"):
        LeaseTimes(ttl=LONGEST_TTL + 1)


def test_a_slot_lives_for_thirty_seconds_and_is_renewed_every_five() -> None:
    """As the documentation tells: what is here is what others wait for when a process dies."""
    assert LeaseTimes() == LeaseTimes(ttl=30, renew=5, margin=2, keep=1, longest=14_400)


@pytest.mark.parametrize(
    "times",
    [
        {"renew": 0.0},
        {"renew": 28.0},
        {"renew": 29.0},
        {"margin": 0.0},
        {"margin": 25.0},
    ],
)
def test_a_lease_is_renewed_while_it_is_trusted_and_trusted_for_less_than_its_life(
    times: dict[str, float],
) -> None:
    LeaseTimes(renew=0.5)
    LeaseTimes(renew=27.5)
    LeaseTimes(margin=0.5)
    with pytest.raises(ValueError, match="must be renewed while it is trusted"):
        LeaseTimes(**times)


@pytest.mark.parametrize("now", [0.0, 0.5])
def test_a_lost_slot_is_trusted_by_no_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """Nor by that of a machine that has just begun."""
    monkeypatch.setattr(leases, "uptime", lambda: now)
    held = Held(KEY, now, LeaseTimes())
    lease = Lease(server(1), held, lambda _: None)
    assert lease.is_trusted
    held.lose()
    assert (lease.is_trusted, lease.lost) == (False, True)


def test_a_slot_is_idle_since_it_was_granted() -> None:
    assert Held(KEY, 7.0, LeaseTimes()).idle_since == 7
