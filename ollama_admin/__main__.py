"""`ollama-admin`, also as `python -m ollama_admin`."""

import gc
import sys
from importlib.util import find_spec

# What httpx imports where it can: its own command line, with click, rich and pygments, which takes
# as long as the rest.
NOT_NEEDED = "httpx._main"
# What it looks for five times a request: where it is not there, all of the path is searched for it
# each time.
OPTIONAL = "sniffio"


def main() -> None:
    """Run the command line of this process.

    What a program loads is no garbage, and looking for some in it while it is loaded, and again at
    the end, takes a third of the time of a short command. `Shell` looks for it again from where the
    work begins.
    """
    gc.disable()
    sys.modules[NOT_NEEDED] = None  # type: ignore[assignment]
    if find_spec(OPTIONAL) is None:
        sys.modules[OPTIONAL] = None  # type: ignore[assignment]
    from ollama_admin.cli.app import main as run  # noqa: PLC0415 (it is what takes the time)

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
