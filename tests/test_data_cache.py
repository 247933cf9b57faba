"""Prepared data is kept: the second run starts immediately, and nothing makes it use what is no longer true."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine import paths
from engine.data import cache
from engine.data.cache import Inputs
from engine.data.prepare import prepare
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Dataset
from engine.errors import DataError
from tests.test_data_prepare import chats, recipe, write
from tests.tiny import make_tokenizer

PROGRAM = """
import sys
from pathlib import Path
from tests.test_data_prepare import recipe
from engine.data.prepare import prepare
print("started", flush=True)
print(prepare(recipe(sys.argv[1]), Path(sys.argv[2])).fingerprint)
"""


def same(one: Dataset, other: Dataset) -> bool:
    pairs = ((one.train, other.train), (one.validation, other.validation))
    arrays = [
        (getattr(left, name), getattr(right, name))
        for left, right in pairs
        for name in ("tokens", "trained", "offsets")
    ]
    return one.fingerprint == other.fingerprint and all(np.array_equal(*pair) for pair in arrays)


def entries() -> list[Path]:
    """All that lies in the cache, half made or whole."""
    folder = paths.cache() / "tokens"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def started(file: str, model: Path) -> subprocess.Popen[str]:
    """Another process that prepares the same, and has begun."""
    other = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, file, str(model)], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "started\n"
    return other


def test_second_run_reuses_cached_tokens(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(write(tmp_path / "a.jsonl", chats(40)))
    first = prepare(config, tiny_model)
    with monkeypatch.context() as patch:
        patch.setattr(RowEncoder, "encode", None)
        second = prepare(config, tiny_model)
    assert same(first, second)
    assert first.questions == second.questions
    assert second.notes == (*first.notes, "40 examples were tokenised by an earlier run")


def test_changed_file_is_read_again(tmp_path: Path, tiny_model: Path) -> None:
    """Even with its old size and time."""
    file = Path(write(tmp_path / "a.jsonl", chats(20)))
    first = prepare(recipe(str(file)), tiny_model)
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"it is 7", b"it is 8"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = prepare(recipe(str(file)), tiny_model)
    assert second.fingerprint != first.fingerprint
    assert len(entries()) == 2


@pytest.mark.parametrize(
    "change", [{"max_seq_length": 64}, {"seed": 1}, {"train_on": "all"}, {"validation": 0.3}]
)
def test_changed_recipe_misses_token_cache(tmp_path: Path, tiny_model: Path, change: dict[str, int]) -> None:
    file = write(tmp_path / "a.jsonl", chats(20))
    prepare(recipe(file), tiny_model)
    assert not prepare(recipe(file, **change), tiny_model).notes[-1].endswith("earlier run")  # type: ignore[arg-type]


def test_another_tokenizer_misses_token_cache(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", chats(20))
    make_tokenizer(tmp_path)
    first = prepare(recipe(file), tmp_path)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>' + '\n'", "<|im_end|>'"))
    assert prepare(recipe(file), tmp_path).fingerprint != first.fingerprint


def test_another_tool_template_misses_token_cache(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", chats(20))
    make_tokenizer(tmp_path)
    prepare(recipe(file), tmp_path)
    more = tmp_path / "additional_chat_templates" / "tool_use.jinja"
    more.parent.mkdir()
    more.write_text((tmp_path / "chat_template.jinja").read_text())
    assert not prepare(recipe(file), tmp_path).notes[-1].endswith("earlier run")
    more.write_text("{{ strftime_now('%Y') }}" + more.read_text())
    days = (date(2026, 11, 26), date(2026, 11, 27))
    assert not any(prepare(recipe(file), tmp_path, day=day).notes[-1].endswith("earlier run") for day in days)


def test_least_recently_used_cache_entry_goes_first(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [recipe(write(tmp_path / f"{name}.jsonl", chats(20 + name))) for name in range(4)]

    def is_kept(number: int) -> bool:
        return prepare(configs[number], tiny_model).notes[-1].endswith("earlier run")

    for age, config in enumerate(configs[:3]):
        prepare(config, tiny_model)
        for entry in entries():
            used = entry.stat().st_mtime
            os.utime(entry, (used - 1000 + age, used - 1000 + age))
    assert is_kept(0), "and is the newest again by it"
    sizes = sum(file.stat().st_size for entry in entries() for file in entry.rglob("*"))
    monkeypatch.setattr(cache, "KEPT_BYTES", sizes + 2000)
    prepare(configs[3], tiny_model)
    assert len(entries()) == 3
    assert is_kept(0)
    assert is_kept(2)
    monkeypatch.setattr(cache, "KEPT_BYTES", 1)
    assert not is_kept(1)
    assert len(entries()) == 1, "what a run needs now is never removed"
    assert is_kept(1)


def test_unfinished_cache_entry_is_kept_a_day(tmp_path: Path, tiny_model: Path) -> None:
    """Another process may still be making it."""
    prepare(recipe(write(tmp_path / "a.jsonl", chats(3))), tiny_model)
    others = [paths.cache() / "tokens" / f"{name}.1.making" for name in ("young", "old")]
    for age, other in zip((23, 25), others, strict=True):
        other.mkdir()
        begun = time.time() - age * 3600
        os.utime(other, (begun, begun))
    prepare(recipe(write(tmp_path / "b.jsonl", chats(4))), tiny_model)
    assert [other.is_dir() for other in others] == [True, False]


def test_cache_key_includes_code_and_library_versions(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, package = recipe(write(tmp_path / "a.jsonl", chats(3))), tmp_path / "data"
    (package / "chat_templates").mkdir(parents=True)
    monkeypatch.setattr(cache, "__file__", str(package / "cache.py"))

    def key() -> str:
        cache._code.cache_clear()
        return Inputs(config, tiny_model, [], False, None).key

    found = [key()]
    for name in ("split.py", "chat_templates/chatml.jinja"):
        (package / name).write_text("new")
        found.append(key())
    monkeypatch.setattr(cache, "version", lambda name: f"{name} 99")
    found.append(key())
    assert found[-1] == key()
    cache._code.cache_clear()
    assert len(set(found)) == 4


def test_dated_template_in_settings_changes_fingerprint(tmp_path: Path) -> None:
    config = recipe(write(tmp_path / "a.jsonl", chats(20)))
    make_tokenizer(tmp_path)
    file = tmp_path / "chat_template.jinja"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{{ strftime_now('%d %b %Y') }}\n" + file.read_text()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    file.unlink()
    days = (date(2026, 11, 26), date(2026, 11, 27))
    assert len({prepare(config, tmp_path, day=day).fingerprint for day in days}) == 2


def test_chat_template_writes_date_of_run(tmp_path: Path) -> None:
    config = recipe(write(tmp_path / "a.jsonl", chats(20)))
    make_tokenizer(tmp_path)
    template = tmp_path / "chat_template.jinja"
    days = (date(2026, 11, 26), date(2026, 11, 27))
    assert len({prepare(config, tmp_path, day=day).fingerprint for day in days}) == 1
    assert len(entries()) == 1
    template.write_text("{{ strftime_now('%d %b %Y') }}\n" + template.read_text())
    dated = [prepare(config, tmp_path, day=day) for day in days]
    assert dated[0].fingerprint != dated[1].fingerprint
    text = Tokenizer.load(tmp_path).decode(dated[0].train[0].input_ids.tolist())
    assert text.startswith("26 Nov 2026")
    assert same(prepare(config, tmp_path, day=days[0]), dated[0])


@pytest.mark.parametrize(
    "part", ["train/tokens.int32", "train/trained.bool", "validation/offsets.int64", "about.json"]
)
def test_damaged_cache_entry_is_made_again(tmp_path: Path, tiny_model: Path, part: str) -> None:
    config = recipe(write(tmp_path / "a.jsonl", chats(20)))
    first = prepare(config, tiny_model)
    (entry,) = entries()
    file = entry / part
    file.write_bytes(file.read_bytes()[:-1])
    assert same(prepare(config, tiny_model), first)
    assert entries() == [entry]


def test_file_changing_while_read_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    file = Path(write(tmp_path / "a.jsonl", chats(20)))

    def append(done: int, total: int) -> None:
        with file.open("a") as out:
            out.write("\n")

    with pytest.raises(DataError, match="changed while it was read"):
        prepare(recipe(str(file)), tiny_model, append)
    assert not entries()


@pytest.mark.slow
def test_two_processes_prepare_same_cache_entry(tmp_path: Path, tiny_model: Path) -> None:
    """Neither harms the other."""
    file = write(tmp_path / "a.jsonl", chats(3000))
    both = [started(file, tiny_model) for _ in range(2)]
    found = {other.communicate()[0].strip() for other in both}
    assert [other.returncode for other in both] == [0, 0]
    assert found == {prepare(recipe(file), tiny_model).fingerprint}
    assert len(entries()) == 1


@pytest.mark.slow
def test_killed_process_leaves_no_cache_entry(tmp_path: Path, tiny_model: Path) -> None:
    file = write(tmp_path / "a.jsonl", chats(20_000))
    other = started(file, tiny_model)
    while not any((entry / "train" / "tokens.int32").is_file() for entry in entries()):
        time.sleep(0.001)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    (left,) = entries()
    assert left.suffix == ".making"
    os.utime(left, (0, 0))  # as if a day had passed
    assert not prepare(recipe(file), tiny_model).notes[-1].endswith("earlier run")
    assert [entry.suffix for entry in entries()] == [""]


@pytest.mark.slow
def test_full_disk_leaves_no_cache_entry(tmp_path: Path, tiny_model: Path) -> None:
    file = write(tmp_path / "a.jsonl", chats(3000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))
    try:
        with pytest.raises(OSError, match="large") as failure:
            prepare(recipe(file), tiny_model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(paths.cache()) in str(failure.value.filename)
    assert not entries()
