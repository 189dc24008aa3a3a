"""The end that is forced: of a program whose thread stands in a call that nothing interrupts."""

import signal
import subprocess
import sys

import pytest

STUCK = """
import signal, sys, threading, time
from ollama_admin.cli import ending

ending.LEAVING = 0.2
end = ending.Ending()


def stand() -> None:  # Python waits for this thread before it ends
    time.sleep(3600)


def leave(*_: object) -> None:
    end.within(ending.LEAVING, ending.TERMINATED)
    {then}


signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, end.on_interrupt(signal.default_int_handler))
threading.Thread(target=stand).start()
print("standing", flush=True)
while True:
    time.sleep(3600)
"""


def ended(script: str, sign: signal.Signals) -> int:
    """The exit code of a program that is sent a signal once it stands."""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "standing\n"
        process.send_signal(sign)
        return process.wait(30)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_thread_that_stands_does_not_keep_the_program(sign: signal.Signals, code: int) -> None:
    assert ended(STUCK.format(then="sys.exit(1)"), sign) == code


def test_an_end_that_is_called_off_does_not_come() -> None:
    script = STUCK.format(then="end.call_off(); time.sleep(0.5); import os; os._exit(7)")
    assert ended(script, signal.SIGTERM) == 7


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    from ollama_admin.cli.ending import Ending

    assert Ending().on_interrupt(signal.SIG_IGN) is signal.SIG_IGN
    assert Ending().on_interrupt(None) is None
