"""Services that tokens are for: what each is for, and how to ask the service whether it takes them.

One row a service. A test sends the token to the service's own address and to nowhere else: redirects are not followed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.secrets import asking
from engine.secrets.names import HF_TOKEN

Values = Mapping[str, str]
"""Values of a service's tokens and settings, as far as they are set, by name."""
SERVE_API_KEY = "SERVE_API_KEY"


@dataclass(frozen=True)
class Service:
    """What its tokens are called, and the test. `test` gets what is set of `names` and `settings`."""

    title: str
    names: Mapping[str, str]
    """Purpose of each token, by its name."""
    test: Callable[[Values], str] | None = None
    """Asks the service whose the tokens are; the answer for a person. Raises TokenRejected, HubError, ConfigError."""
    settings: tuple[str, ...] = ()
    """Names of what is no token: the address of the service."""
    untested: str = ""
    """The reason for which there is no test, as a sentence."""


def _hub(values: Values) -> str:
    from huggingface_hub import constants

    title = "The hub"
    if constants.HF_HUB_OFFLINE:
        raise asking.offline(title, "HF_HUB_OFFLINE")
    page = "Create a new one at https://huggingface.co/settings/tokens"
    headers = {"Authorization": f"Bearer {values[HF_TOKEN]}"}
    answer = asking.ask(title, f"{constants.ENDPOINT}/api/whoami-v2", page, headers=headers)
    name = asking.text(answer, "name")
    if name is None:
        raise asking.not_its_api(title, constants.ENDPOINT)
    role = asking.text(answer, "auth", "accessToken", "role")
    return f"The hub knows it: {name}" + (f", may {role}." if role else ".")


def _wandb(values: Values) -> str:
    title, address = "W&B", values.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")
    if values.get("WANDB_MODE") in ("offline", "disabled"):
        raise asking.offline(title, "WANDB_MODE")
    page = f"Copy the key again from {'https://wandb.ai' if 'api.wandb.ai' in address else address}/authorize"
    answer = asking.ask(
        title,
        f"{address}/graphql",
        page,
        auth=("api", values["WANDB_API_KEY"]),
        body={"query": "query Viewer { viewer { username entity } }"},
    )
    if not isinstance(answer, dict) or "data" not in answer:
        raise asking.not_its_api(title, address)
    name = asking.text(answer, "data", "viewer", "username")
    if name is None:  # it answers, but as to somebody without a name
        raise asking.rejected(title, page)
    entity = asking.text(answer, "data", "viewer", "entity")
    return f"W&B knows it: {name}" + (f", entity {entity}." if entity else ".")


def _mlflow(values: Values) -> str:
    title, address = "MLflow", values.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            "MLFLOW_TRACKING_URI names no server that could be asked.",
            "Set it to the server's address: export MLFLOW_TRACKING_URI=https://…",
        )
    user, password = values.get("MLFLOW_TRACKING_USERNAME"), values.get("MLFLOW_TRACKING_PASSWORD")
    token = values.get("MLFLOW_TRACKING_TOKEN")
    if not ((user and password) or token):
        raise ConfigError(
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are for each other; only one is set.",
            "Set the other one, or MLFLOW_TRACKING_TOKEN alone.",
        )
    basic = (user, password) if user and password else None  # which MLflow's own client prefers too
    answer = asking.ask(
        title,
        f"{address}/api/2.0/mlflow/experiments/search?max_results=1",
        "Ask who runs the server for a user or token.",
        auth=basic,
        headers={} if basic else {"Authorization": f"Bearer {token}"},
    )
    if not isinstance(answer, dict) or set(answer) - {"experiments", "next_page_token"}:
        raise asking.not_its_api(title, address)
    return "MLflow's server answers" + (f" {user}." if basic else " with this token.")


def _langfuse(values: Values) -> str:
    title = "Langfuse"
    public, secret = values.get("LANGFUSE_PUBLIC_KEY"), values.get("LANGFUSE_SECRET_KEY")
    if not (public and secret):
        raise ConfigError(
            "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are for each other; only one is set.",
            "Set the other one; both are in the settings of the project.",
        )
    address = values.get("LANGFUSE_HOST") or values.get("LANGFUSE_BASE_URL") or "https://cloud.langfuse.com"
    address = address.rstrip("/")
    page = "Copy both keys of one project again, and check LANGFUSE_HOST: each region has its own."
    answer = asking.ask(title, f"{address}/api/public/projects", page, auth=(public, secret))
    projects = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(projects, list):
        raise asking.not_its_api(title, address)
    names = [name for project in projects if (name := asking.text(project, "name"))]
    return "Langfuse knows them" + (f": project {', '.join(names[:3])}." if names else ".")


SERVICES = (
    Service("Hugging Face", {HF_TOKEN: "Hugging Face: gated and private models"}, _hub),
    Service(
        "Weights & Biases",
        {"WANDB_API_KEY": "Weights & Biases"},
        _wandb,
        ("WANDB_BASE_URL", "WANDB_MODE"),
    ),
    Service(
        "MLflow",
        {
            "MLFLOW_TRACKING_TOKEN": "MLflow: token",
            "MLFLOW_TRACKING_USERNAME": "MLflow: user",
            "MLFLOW_TRACKING_PASSWORD": "MLflow: password",
        },
        _mlflow,
        ("MLFLOW_TRACKING_URI",),
    ),
    Service(
        "Langfuse",
        {"LANGFUSE_PUBLIC_KEY": "Langfuse: public key", "LANGFUSE_SECRET_KEY": "Langfuse: secret key"},
        _langfuse,
        ("LANGFUSE_HOST", "LANGFUSE_BASE_URL"),
    ),
    Service(
        "ft serve",
        {SERVE_API_KEY: "the API key of ft serve"},
        untested="It is the key of your own server: whoever shows it is let in, and nobody else knows it.",
    ),
)
PURPOSES = {name: purpose for service in SERVICES for name, purpose in service.names.items()}
ALWAYS = (HF_TOKEN, "WANDB_API_KEY")
"""Tokens that are listed whether they are set or not."""


def service_of(name: str) -> Service | None:
    """The service that a token is for; None for a name of one's own."""
    return next((service for service in SERVICES if name in service.names), None)


def has_test(name: str) -> bool:
    """True if there is a service that can be asked about a token of this name."""
    service = service_of(name)
    return service is not None and service.test is not None
