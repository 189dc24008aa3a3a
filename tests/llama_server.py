"""Real inference servers for the tests: llama.cpp's own HTTP server with a model that says one
chosen sentence.

The server comes from the wheel ``xllamacpp``; the model, 2 MB of almost only zeros, is written with
``gguf``. The server runs in a process of its own, because its threads and its log belong to no
test. It speaks the ``v1`` API, not ``/api``.
"""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gguf

START_SECONDS = 30
STOP_SECONDS = 10

UNKNOWN, BEGIN, END = 0, 1, 2
FIRST_WORD = 3 + 256
SPACE = "\u2581"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaServer:
    """A running server: ``url`` is without ``/v1``, ``model_id`` is the one entry of
    ``/v1/models``.
    """

    url: str
    sentence: str
    model_id: str


@contextmanager
def serve(folder: Path, *, model_id: str, sentence: str) -> Iterator[LlamaServer]:
    """Run a server whose model says ``sentence``; its model file and its log are kept in
    ``folder``.
    """
    log = folder / f"{model_id}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-I", Path(__file__).absolute(), model_id, sentence],
            cwd=folder,  # the server lists the path it was given as the id of the model
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        ) as process,
    ):
        try:
            url = _first_line(process)
            if not url:
                raise RuntimeError(f"llama.cpp did not start: {log.read_text()}")
            yield LlamaServer(url=url, sentence=sentence, model_id=model_id)
        finally:
            _end(process)


def write_model(path: Path, sentence: str) -> None:
    """Write a model that answers ``sentence`` to anything, at any temperature.

    Attention and feed-forward weights are zero, so the next token depends on the current one alone:
    each word leads to the next, the last one to the end of the text, and any other token to the
    first word. So no word may come twice: ValueError otherwise.
    """
    import gguf

    first, *rest = sentence.split(" ")
    if len({first, *rest}) != 1 + len(rest):
        raise ValueError(f"a word comes twice in {sentence!r}")
    words = [first, *(SPACE + word for word in rest)]
    kinds = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL]
    types += [kinds.BYTE] * 256 + [kinds.NORMAL] * len(words)
    width = -(-len(tokens) // 32) * 32

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 4)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    _add_tensors(writer, vocabulary=len(tokens), width=width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tensors(writer: "gguf.GGUFWriter", *, vocabulary: int, width: int) -> None:
    import numpy as np

    output = np.zeros((vocabulary, width), np.float32)
    for token in range(vocabulary):
        following = FIRST_WORD if token < FIRST_WORD else token + 1
        output[END if following == vocabulary else following, token] = 100
    ones = np.ones(width, np.float32)
    square = np.zeros((width, width), np.float32)
    narrow = np.zeros((64, width), np.float32)
    tensors = {
        "token_embd": np.eye(vocabulary, width, dtype=np.float32),
        "output_norm": ones,
        "output": output,
        "blk.0.attn_norm": ones,
        "blk.0.ffn_norm": ones,
        "blk.0.attn_q": square,
        "blk.0.attn_k": square,
        "blk.0.attn_v": square,
        "blk.0.attn_output": square,
        "blk.0.ffn_gate": narrow,
        "blk.0.ffn_up": narrow,
        "blk.0.ffn_down": narrow.T.copy(),
    }
    for name, values in tensors.items():
        writer.add_tensor(f"{name}.weight", values)


def _first_line(process: subprocess.Popen[str]) -> str:
    """The first line the process prints, or nothing when it ends or takes too long."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    return process.stdout.readline().strip() if ready else ""


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _main(path: Path, sentence: str) -> None:
    """Serve until standard input ends, which happens however the parent ends."""
    parent = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints goes to the log
    import xllamacpp

    write_model(path, sentence)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 2048
    params.n_parallel = 4
    params.n_predict = 256
    params.n_threads_http = 8
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, file=parent, flush=True)
    sys.stdin.read()
    os._exit(0)  # without waiting for the library's threads and open requests


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
