"""`ollama-admin`, also as `python -m ollama_admin`."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ollama_admin.cli.startup import quick_process


def main() -> None:
    """Run the command line of this process."""
    with quick_process():
        with _quiet_when_interrupted():
            from ollama_admin.cli.app import main as run  # noqa: PLC0415 (what takes the time)

        run()


@contextmanager
def _quiet_when_interrupted() -> Iterator[None]:
    """Let Ctrl-C end a program that has only begun to load, without a traceback of its imports."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:  # else it is ignored, as behind `nohup`
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)


if __name__ == "__main__":
    main()
