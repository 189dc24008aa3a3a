"""A simulated Ollama server on a real socket: no model runs, what it says is made up.

`ollama-admin demo` talks to two of them, and the tests put faults on top. Nothing that asks a real
server imports it.
"""
