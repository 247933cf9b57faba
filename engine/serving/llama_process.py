"""llama.cpp's server in a process of its own. It reads one line of JSON on stdin, and serves until SIGTERM.

python -P -m engine.serving.llama_process < settings.json
"""

import signal

from engine.serving.child import settings
from engine.serving.engines import LOCALHOST


def main() -> None:
    """Load the GGUF and listen."""
    asked = settings()
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = asked["file"], {asked["name"]}
    parameters.hostnames, parameters.port = [LOCALHOST], asked["port"]
    parameters.n_parallel, parameters.use_jinja = asked["slots"], True
    parameters.api_keys = [asked["key"]]
    server = xllamacpp.Server(parameters)
    print(f"llama.cpp listens at {server.listening_address}", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    main()
