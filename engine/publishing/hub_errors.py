"""Errors of the hub's client while something is pushed, for people."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import ConfigError, FtError, HubError, first_line
from engine.models.hub_client import http_errors
from engine.storage import disk_errors

TOKENS = "https://huggingface.co/settings/tokens"
SENT_IS_KEPT = "Run the same command again: what was sent is not sent again."
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_repo(repo: str) -> None:
    """Raise ConfigError unless `repo` is a name that the hub could have."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined, unused-ignore]

    try:
        if not REPO.fullmatch(repo):
            raise HFValidationError("it is not OWNER/NAME")
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(
            f"{repo!r} cannot be the name of a repository: {first_line(error)}",
            "Give OWNER/NAME, of letters, digits and . _ - as in --to anna/orders",
        ) from error


def no_token() -> ConfigError:
    """The error where nobody has given a token."""
    return ConfigError(
        "Pushing needs a token of the hub, and none is set.",
        f"Create one with write permission at {TOKENS}, then: ft secrets set HF_TOKEN",
    )


def not_public(repo: str) -> ConfigError:
    """The error for a repository that everybody sees, where that was not asked for."""
    return ConfigError(
        f"{repo} is public: everybody could see this.", "Add --public, or push to another name."
    )


def other_kind(repo: str, adapter: bool) -> ConfigError:
    """The error for an adapter that would lie beside a whole model, or the other way around."""
    pushed, there = ("an adapter", "a whole model") if adapter else ("a whole model", "an adapter")
    return ConfigError(
        f"{repo} holds {there}, and this is {pushed}: programs would mix the two.",
        "Push to another name, or to a branch of its own: --revision BRANCH",
    )


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turn the errors of the hub's client into ours."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, RuntimeError) and cause.__cause__ is not None:
            cause = cause.__cause__  # the client's wrapping of what went wrong with one file
        found = _explained(cause, repo)
        if found is error:
            raise
        raise found from (None if found is cause else error)


def _explained(error: BaseException, repo: str) -> BaseException:
    """Our error for one of the client's; what is none of these, as a request to stop, stays what it is."""
    from huggingface_hub import errors

    match error:
        case FtError():
            return error
        case errors.OfflineModeIsEnabled():
            message = "HF_HUB_OFFLINE is set, so nothing can be pushed."
            return HubError(message, "Unset HF_HUB_OFFLINE.", unreachable=True)
        case errors.RevisionNotFoundError():
            return HubError(f"{repo} has no such branch.", "Give another --revision.")
        case errors.HfHubHTTPError():
            return _refused(error, error.response.status_code, repo)
        case _ if _is_of_network(error):
            message = f"The connection to the hub was cut ({type(error).__name__})."
            return HubError(message, f"Check the network. {SENT_IS_KEPT}", unreachable=True)
        case ValueError() if "README.md" in str(error):
            message = f"The hub does not take the head of README.md: {' '.join(str(error).split())}"
            return HubError(message, "Correct the YAML at the top of README.md.")
        case ValueError() if "LFS" in str(error):
            return HubError(f"The hub does not take a file: {' '.join(str(error).split())}", SENT_IS_KEPT)
        case OSError():
            return disk_errors.explained(error)
    return error


def _is_of_network(error: BaseException) -> bool:
    """Return True if the connection failed."""
    return isinstance(error, (*http_errors("TransportError"), ConnectionError, TimeoutError))


def _refused(error: Exception, status: int, repo: str) -> HubError:
    owner = repo.partition("/")[0]
    match status:
        case 401 | 404:
            hint = f"Test it with: ft secrets test HF_TOKEN   A new one: {TOKENS}"
            return HubError(f"The hub rejects the token, or does not let it see {repo}.", hint)
        case 402 | 413:
            return HubError(
                f"{owner} has no room for this on the hub: {first_line(error)}", "Free space there."
            )
        case 403:
            message = f"This token may not write to {repo}."
            hint = f"Take a token with write permission ({TOKENS}), or push under a name of your own."
            return HubError(message, hint)
        case 409 | 412:
            return HubError(f"{repo} was changed at the same time.", SENT_IS_KEPT)
        case 408 | 429 | 500 | 502 | 503 | 504:
            return HubError(f"The hub answers {status} for {repo}.", f"Try later. {SENT_IS_KEPT}")
    return HubError(f"The hub refuses the push to {repo}: {first_line(error)}", "See what it says.")
