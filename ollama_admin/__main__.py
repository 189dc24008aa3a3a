"""`ollama-admin`, also as `python -m ollama_admin`."""

import gc
import sys

# What httpx tries to import: its own command line, with click, rich and pygments, which takes as long as the rest of
# it; and, five times a request, a package that tells trio from asyncio: all of the path is searched for it, in vain.
NOT_NEEDED = ("httpx._main", "sniffio")


def main() -> None:
    """Run the command line of this process.

    What a program loads is no garbage, and looking for some in it while it is loaded, and again at the end, takes a
    third of the time of a short command. `Shell` looks for it again from where the work begins.
    """
    gc.disable()
    sys.modules |= dict.fromkeys(NOT_NEEDED)  # type: ignore[arg-type]
    from ollama_admin.cli.app import main as run  # noqa: PLC0415 (it is what takes the time)

    try:
        run()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
