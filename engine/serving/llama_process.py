"""llama.cpp's server in a process of its own. It reads one JSON object on stdin, and serves until SIGTERM.

python -P -m engine.serving.llama_process < settings.json
"""

import json
import signal
import sys


def main() -> None:
    """Load the GGUF and listen."""
    import xllamacpp

    asked = json.load(sys.stdin)
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = asked["file"], {asked["name"]}
    parameters.hostnames, parameters.port = [asked["host"]], asked["port"]
    parameters.n_parallel, parameters.use_jinja = asked["slots"], True
    if asked["key"]:
        parameters.api_keys = [asked["key"]]
    server = xllamacpp.Server(parameters)
    print(f"llama.cpp listens at {server.listening_address}", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    main()
