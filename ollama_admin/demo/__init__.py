"""`ollama-admin demo`: the real commands, against two simulated servers."""
