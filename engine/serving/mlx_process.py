"""mlx_lm.server in a process of its own. It reads one line of JSON on stdin, and serves until it is ended.

python -P -m engine.serving.mlx_process < settings.json

Three things of it are made safe, for a request may otherwise name any folder or model of the hub, which it then loads:
it loads the one model that it was started with, answers only who has the key, and is healthy once that is loaded.
"""

import hmac
import logging
import os
import sys
import threading
from typing import Any

from engine.serving.child import settings


def main() -> None:
    """Load the model and listen."""
    asked = settings()
    from mlx_lm import server

    _keep_to_one_model(server.ModelProvider, _wait_for_model(server.ResponseGenerator))
    _ask_for(asked["key"], server.APIHandler)
    sys.argv = ["mlx_lm.server", *asked["words"]]
    server.main()


def _keep_to_one_model(provider: Any, loaded: threading.Event) -> None:
    """Have all requests answered by the model of the command line; one that does not load ends the process."""
    load = provider.load

    def only(self: Any, model: Any = None, adapter: Any = None, draft: Any = None) -> Any:
        return load(self, "default_model", None, "default_model")

    def load_default(self: Any) -> None:
        try:
            only(self)
        except BaseException:  # the server itself would listen on, with nothing to answer
            logging.exception("The model does not load.")
            os._exit(1)
        loaded.set()

    provider.load, provider.load_default = only, load_default


def _wait_for_model(generator: Any) -> threading.Event:
    """Have /health say no until the event that is returned is set."""
    loaded, healthy = threading.Event(), generator.is_healthy.fget
    generator.is_healthy = property(lambda self: loaded.is_set() and healthy(self))
    return loaded


def _ask_for(key: str, handler: Any) -> None:
    """Have every request but those for /health carry the key."""
    parse = handler.parse_request

    def parse_request(self: Any) -> bool:
        if not parse(self):
            return False
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path == "/health" or hmac.compare_digest(given.encode(), key.encode()):
            return True
        self.send_error(401)
        return False

    handler.parse_request = parse_request


if __name__ == "__main__":
    main()
