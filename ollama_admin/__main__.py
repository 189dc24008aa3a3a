"""`ollama-admin`, also as `python -m ollama_admin`."""

from ollama_admin.cli.app import main

if __name__ == "__main__":
    main()
