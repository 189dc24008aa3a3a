"""What the OpenAI-compatible API can carry of a question, and how it calls it."""

from ollama_admin.domain.requests import Question

OPTIONS = {  # what the OpenAI-compatible API calls an option that it can carry
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_predict": "max_tokens",
}
FIELDS = frozenset(("prompt", "messages", "system", "images", "format", "options"))
MESSAGE = frozenset(("role", "content", "images"))
# How users of the command line know what v1 cannot carry.
_FLAGS = {"keep_alive": "--keep-alive", "think": "--think"}


def obstacle(question: Question, *, of_ollama_client: bool = False) -> str | None:
    """The first thing said that the OpenAI-compatible API cannot carry, as users know it.

    `of_ollama_client`: it was asked by Ollama's own API, whose clients send `think: false` with
    every question to a model that does not think.
    """
    for name in question.said():
        if name == "think" and question.think is False and of_ollama_client:
            continue
        if name not in FIELDS:
            return _FLAGS.get(name, name)
    if not (question.prompt or question.messages):
        return "an empty prompt, which only loads the model"
    for key in question.options:
        if key not in OPTIONS:
            return f"--option {key}"
    for message in question.messages or ():
        for key in message:
            if key not in MESSAGE:
                return f"{key} of a message"
    return None
