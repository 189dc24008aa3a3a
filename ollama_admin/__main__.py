"""`ollama-admin`, also as `python -m ollama_admin`."""

from ollama_admin.cli.startup import quick_process


def main() -> None:
    """Run the command line of this process."""
    with quick_process():
        from ollama_admin.cli.app import main as run  # noqa: PLC0415 (it is what takes the time)

        run()


if __name__ == "__main__":
    main()
