#!/usr/bin/env bash
# huggingface_hub 2: its connection errors are no longer httpx's, so `except httpx.TransportError` catches nothing.
#
# Expected  huggingface_hub is built on httpx since 1.0, and its own errors derive from httpx.HTTPError: code that handles a
#           hub that cannot be reached by `except httpx.TransportError` works with every release from then on.
# Happens   Release 2 brings another distribution, httpx2, with classes of the same names. A refused connection is an
#           httpx2.ConnectError, which is neither an httpx.TransportError nor an OSError; with both libraries installed, as
#           other packages want httpx, nothing says so before the network fails.
# Matters   A push or a download that loses its connection ends with a traceback in place of "run the same command again".
#           Know the error by its class's name, or ask the client for its library.
# Seen      2026-11-29: huggingface_hub 1.33.0 and 2.4.0, httpx 0.28.1, Python 3.11.7, Linux; what this script printed:
#             huggingface_hub 1.33.0: httpx.ConnectError, an httpx.TransportError: True
#             huggingface_hub 2.4.0: httpx2.ConnectError, an httpx.TransportError: False
#
# Installs the packages into a temporary folder, asks a port of this machine where nobody listens, ends with 1 where that
# has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export HF_HOME="$folder" HF_HUB_DISABLE_TELEMETRY=1
for version in 1.33.0 2.4.0; do
  "${PYTHON:-python3}" -m venv "venv-$version"
  "venv-$version/bin/pip" install --quiet "huggingface_hub==$version" httpx==0.28.1
  "venv-$version/bin/python" - "$version" <<'PY'
import sys

import httpx
from huggingface_hub import HfApi

version = sys.argv[1]
try:
    HfApi(endpoint="http://127.0.0.1:9").model_info("someone/something")
except Exception as error:
    kind = type(error)
    caught = isinstance(error, httpx.TransportError)
    print(f"huggingface_hub {version}: {kind.__module__}.{kind.__name__}, an httpx.TransportError: {caught}")
    assert caught == version.startswith("1."), "this has changed"
PY
done
