"""Write the versions of this environment to engine/doctor/known_good.json: run it where the whole suite has passed."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version

from engine.doctor.packages import KNOWN_GOOD, requirements

MORE = ("unsloth", "mlx", "mlx-lm", "liger-kernel", "xllamacpp", "libgguf", "lm-eval")
"""Packages of the extras, which the tests use where they are installed."""


def main() -> None:
    found = {}
    for name in sorted({requirement.name for requirement in requirements()} | set(MORE)):
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    body = {"python": platform.python_version(), "system": platform.system(), "versions": found}
    KNOWN_GOOD.write_text(json.dumps(body, indent=1) + "\n")
    print(f"{len(found)} versions in {KNOWN_GOOD}")


if __name__ == "__main__":
    main()
