"""The end that is forced: of a program whose thread stands in a call that nothing interrupts."""

import signal
import subprocess
import sys

import pytest

from ollama_admin import __version__

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


LOADING = """
import os, signal, sys


class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)


signal.signal(signal.SIGINT, {handler})
sys.meta_path.insert(0, Interrupting())
sys.argv = ["ollama-admin", "--version"]
from ollama_admin.__main__ import main

main()
"""


@pytest.mark.parametrize(
    ("handler", "code", "output"),
    [("signal.default_int_handler", 130, ""), ("signal.SIG_IGN", 0, f"ollama-admin {__version__}")],
)
def test_a_program_that_is_interrupted_while_it_loads_says_nothing(
    handler: str, code: int, output: str
) -> None:
    script = LOADING.format(handler=handler)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, output, "")
