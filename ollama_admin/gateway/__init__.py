"""The one URL of a fleet: Ollama's, OpenAI's and Anthropic's paths, relayed to its servers."""
