"""Uploads: which files go, and each way in which the hub says no, with its real client in this process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from engine.errors import ConfigError, FtError, HubError
from engine.jobs.base import Stopped
from engine.publishing.files import pushed_files
from engine.publishing.upload import Pushed, Target, push
from tests.hub_uploads import Repo, UploadHub, uploads

REPO = "anna/orders"
CARD = {"README.md": b"---\nlicense: mit\n---\n# Orders"}
LARGE = "model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub for the client in this process, which does not wait between two tries."""
    with uploads(UploadHub()) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    (made / LARGE).write_bytes(os.urandom(300_000))
    (made / "config.json").write_text("{}")
    return made


def upload(
    hub: UploadHub, folder: Path, told: list[tuple[int, int]] | None = None, **target: str | bool
) -> Pushed:
    def progress(note: str, done: int, total: int) -> None:
        if told is not None:
            told.append((done, total))

    return push(pushed_files(folder), CARD, Target(REPO, **target), "Push", hub.token, progress)  # type: ignore[arg-type]


def refusal(hub: UploadHub, folder: Path) -> FtError:
    with pytest.raises(FtError) as caught:
        upload(hub, folder)
    assert hub.token not in str(caught.value)
    return caught.value


def test_progress_counts_the_bytes_of_all_files(hub: UploadHub, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    done = upload(hub, folder, told)
    assert done.commit == hub.repos[REPO].commits[-1][0]
    assert done.missing == ()
    total = 300_000 + 2
    assert {count for _, count in told} == {total}
    assert told[-1][0] == total
    assert max(count for count, _ in told) == total


def test_file_is_sent_again_from_its_beginning_after_a_cut(hub: UploadHub, folder: Path) -> None:
    hub.cuts = [100_000, 200_000]
    upload(hub, folder)
    assert hub.files(REPO)[LARGE] == (folder / LARGE).read_bytes()
    assert len(hub.asked("/lfs/", "PUT")) == 3


def test_connection_that_stays_cut_is_named_and_nothing_is_committed(hub: UploadHub, folder: Path) -> None:
    hub.cuts = [1000] * 9
    error = refusal(hub, folder)
    assert isinstance(error, HubError)
    assert error.unreachable
    assert "was cut" in error.message
    assert "what was sent is not sent again" in error.hint
    assert hub.files(REPO) == {}


@pytest.mark.parametrize("status", [500, 503, 429])
def test_busy_hub_is_asked_again(status: int, hub: UploadHub, folder: Path) -> None:
    hub.fails = [("preupload", status), ("/lfs/", status), ("batch", status)]
    upload(hub, folder)
    assert set(hub.files(REPO)) == {LARGE, "config.json", "README.md"}


@pytest.mark.parametrize(
    ("part", "status", "message"),
    [
        ("commit", 409, "was changed at the same time"),
        ("commit", 412, "was changed at the same time"),
        ("commit", 500, "The hub answers 500"),
        ("repos/create", 401, "The hub rejects the token"),
        ("repos/create", 402, "has no room"),
        ("preupload", 403, "may not write to anna/orders"),
        ("batch", 413, "has no room"),
        ("commit", 400, "refuses the push"),
    ],
)
def test_refusal_is_explained(part: str, status: int, message: str, hub: UploadHub, folder: Path) -> None:
    hub.fails = [(part, status)] * 9
    assert message in refusal(hub, folder).message
    assert hub.repos.get(REPO, Repo(True)).commits == []


def test_repository_of_another_owner_is_not_written(hub: UploadHub, folder: Path) -> None:
    hub.owners = ("bert",)
    hub.repos[REPO] = Repo(private=False)
    with pytest.raises(HubError, match="may not write to anna/orders"):
        upload(hub, folder, public=True)
    assert hub.asked("/lfs/", "PUT") == []


def test_wrong_token_is_rejected(hub: UploadHub, folder: Path) -> None:
    files, target = pushed_files(folder), Target(REPO)
    with pytest.raises(HubError, match="The hub rejects the token"):
        push(files, CARD, target, "Push", "hf_another0123456789", lambda *_: None)


def test_private_push_does_not_go_to_a_public_repository(hub: UploadHub, folder: Path) -> None:
    hub.repos[REPO] = Repo(private=False)
    with pytest.raises(ConfigError, match="is public: everybody could see this"):
        upload(hub, folder)
    assert hub.asked("/lfs/", "PUT") == []
    upload(hub, folder, public=True)
    assert LARGE in hub.files(REPO)


def test_offline_says_so(hub: UploadHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    try:
        assert "HF_HUB_OFFLINE is set" in refusal(hub, folder).message
    finally:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        close_session()


def test_hub_that_is_not_there_is_unreachable(
    folder: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = refusal(hub, folder)
    assert isinstance(error, HubError)
    assert error.unreachable


def test_card_whose_head_the_hub_does_not_take_stops_the_push(hub: UploadHub, folder: Path) -> None:
    bad = {"README.md": b"---\nlicense: '?!'\n---\n# Orders"}
    with pytest.raises(HubError, match='"license" must be one of the known ones'):
        push(pushed_files(folder), bad, Target(REPO), "Push", hub.token, lambda *_: None)
    assert hub.repos[REPO].commits == []


def test_adapter_is_not_put_beside_a_whole_model(hub: UploadHub, folder: Path) -> None:
    upload(hub, folder)
    (folder / "config.json").rename(folder / "adapter_config.json")
    with pytest.raises(ConfigError, match="holds a whole model, and this is an adapter"):
        upload(hub, folder)


def test_branch_is_made(hub: UploadHub, folder: Path) -> None:
    upload(hub, folder, branch="v2")
    assert hub.files(REPO) == {}
    assert LARGE in hub.files(REPO, "v2")
    upload(hub, folder, branch="v2")


def test_files_that_the_repository_ignores_are_told(hub: UploadHub, folder: Path) -> None:
    hub.repos[REPO] = Repo(private=True, gitignore=(LARGE,))
    assert upload(hub, folder).missing == (LARGE,)


def test_request_to_stop_ends_the_upload_as_itself(hub: UploadHub, folder: Path) -> None:
    def stop(note: str, done: int, total: int) -> None:
        if note.startswith("uploading model") and done > 100_000:
            raise Stopped

    with pytest.raises(Stopped):
        push(pushed_files(folder), CARD, Target(REPO), "Push", hub.token, stop)
    assert hub.files(REPO) == {}


def test_only_files_of_the_list_are_pushed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"private")
    (folder / "model-2.safetensors").symlink_to(outside)
    (folder / "LICENSE").symlink_to(folder / "config.json")
    for name in (
        ".env",
        ".config.json",
        "training_args.bin",
        "pytorch_model.bin",
        "rows.jsonl",
        "modeling_x.py",
    ):
        (folder / name).write_text("x")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("x")
    (folder / "additional_chat_templates" / ".env").write_text("x")
    (folder / ".git").mkdir()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "model.safetensors").write_text("x")
    os.mkfifo(folder / "tokenizer.json")
    found = pushed_files(folder)
    assert sorted(found.sizes) == ["additional_chat_templates/tools.jinja", "config.json", LARGE]
    assert found.total == 300_000 + 2 + 1
    assert {"model-2.safetensors", ".env", ".git", "checkpoints", "training_args.bin"} <= set(found.left_out)


def test_linked_folder_of_templates_is_not_followed(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "private.jinja").write_text("x")
    (folder / "additional_chat_templates").symlink_to(other)
    assert sorted(pushed_files(folder).sizes) == ["config.json", LARGE]


def test_code_goes_with_a_model_that_brings_its_own(folder: Path) -> None:
    (folder / "modeling_mine.py").write_text("x")
    (folder / "config.json").write_text('{"auto_map": {"AutoModelForCausalLM": "modeling_mine.Mine"}}')
    assert "modeling_mine.py" in pushed_files(folder).sizes


def test_folder_without_weights_is_not_pushed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no weights to push"):
        pushed_files(tmp_path)


def test_file_that_became_a_link_after_listing_is_not_followed(
    hub: UploadHub, folder: Path, tmp_path: Path
) -> None:
    files = pushed_files(folder)
    (tmp_path / "private").write_text("private")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "private")
    with pytest.raises(FtError):
        push(files, CARD, Target(REPO), "Push", hub.token, lambda *_: None)
    assert hub.repos[REPO].commits == []
