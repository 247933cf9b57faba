"""Recipes that nobody should write, by what is wrong with them. Harmless: none is large, none is dangerous to read."""

from collections.abc import Iterator

GOOD = "model: {base: MODEL}\ndata: {train: ROWS}\n"
TITLE = "\x1b]0;title\x07"
"""An escape sequence that changes the title of a terminal that gets it raw."""
VALUES = (
    "-1",
    "0",
    ".nan",
    ".inf",
    "1e300",
    "9" * 900,
    "true",
    "[]",
    "{}",
    "null",
    "a word",
    '"5"',
    "'\\e[2J'",
)
"""Put where a number is due."""
NUMBERS = (
    "training.max_steps",
    "training.epochs",
    "training.learning_rate",
    "model.max_seq_length",
    "adapter.rank",
)


def texts() -> Iterator[tuple[str, bytes]]:
    """Whole files."""
    plain = {
        "empty": "",
        "blank": " \n\n",
        "a comment": "# nothing\n",
        "a word": "word\n",
        "a number": "7\n",
        "a list": "- a\n- b\n",
        "two documents": f"{GOOD}---\n{GOOD}",
        "a tab": "model:\n\tbase: x\n",
        "an open quote": 'model: {base: "x\n',
        "an open bracket": "model: {base: x\n",
        "a key twice": f"{GOOD}model: {{base: x}}\n",
        "a merge key": f"{GOOD}<<: {{a: 1}}\n",
        "an alias of itself": "a: &a [*a]\n",
        "an alias of nothing": "a: *b\n",
        "a tag": "model: !!python/name:os.sep\n",
        "a deep list": "a: " + "[" * 200 + "]" * 200 + "\n",
        "a mapping as key": "{a: 1}: 2\n",
        "many keys": "".join(f"key{n}: 1\n" for n in range(19_000)),
        "many wrong values": GOOD + "evaluation: {samples: [" + "1, " * 9000 + "2]}\n",
        "a long key": f"{GOOD}{'k' * 10_000}: 1\n",
        "a long path": GOOD.replace("ROWS", "x" * 10_000),
        "a long model": GOOD.replace("MODEL", "x" * 10_000),
        "a long file ending": GOOD.replace("ROWS", f"x.{'y' * 5000}"),
        "a terminal's code in a key": f'{GOOD}"k\\e]0;title\\a": 1\n',
        "a terminal's code in a name": f'{GOOD}name: "\\e]0;title\\a"\n',
        "a terminal's code in a path": GOOD.replace("ROWS", '"\\e]0;title\\a.jsonl"'),
        "a terminal's code in a model": GOOD.replace("MODEL", '"/\\e]0;title\\a"'),
        "a zero byte in a path": GOOD.replace("ROWS", '"a\\0b.jsonl"'),
        "a zero byte in a model": GOOD.replace("MODEL", '"./a\\0b"'),
        "a zero byte in a template": GOOD.replace("MODEL", 'MODEL, chat_template: "a\\0b.jinja"'),
        "a half surrogate": GOOD.replace("ROWS", '"a\\ud800.jsonl"'),
        "an unknown section": f"{GOOD}nothing: 1\n",
        "a section as a list": f"{GOOD}training: [1]\n",
        "a section as a word": f"{GOOD}adapter: lora\n",
        "an unknown backend": f"{GOOD}backend: abacus\n",
        "an unknown method": f"{GOOD}training: {{method: magic}}\n",
        "an unknown form of rows": GOOD.replace("ROWS", "ROWS, format: magic"),
        "a broken template of rows": GOOD.replace("ROWS", "ROWS, template: '{{ a'"),
        "a template that is not there": GOOD.replace("MODEL", "MODEL, chat_template: nowhere.jinja"),
        "no such profile of layers": f"{GOOD}adapter: {{target_modules: [nothing]}}\n",
        "a folder of somebody": GOOD.replace("ROWS", "~nobody-at-all/rows.jsonl"),
    }
    for source in (
        *(
            "https://[::1/x",
            "https://h:99999999/x",
            "https:///x",
            "https://",
            "ftp://h/x",
            "file:///etc/hostname",
        ),
        *(
            "http://example.org/x",
            "gdrive:",
            "gdrive:a",
            "hf://datasets/",
            "hf://x",
            "hf://datasets/a/b@",
            "://",
            "a://b",
        ),
    ):
        plain[f"rows at {source}"] = GOOD.replace("ROWS", f'"{source}"')
    for name, text in plain.items():
        yield name, text.encode("utf-8", "surrogatepass")
    yield "a mark in front", b"\xef\xbb\xbf" + GOOD.encode()
    yield "UTF-16", GOOD.encode("utf-16")
    yield "Latin-1", f"{GOOD}name: caf\xe9\n".encode("latin-1")
    yield "a zero byte", GOOD.encode() + b"\0"
    yield "random bytes", bytes(range(256)) * 8
    yield "a terminal's code", f"{GOOD}# {TITLE}\n".encode()
    yield "more than a megabyte", (GOOD + "# comment\n" * 110_000).encode()


def overrides() -> Iterator[str]:
    """Words behind `--set`."""
    yield from (
        "a",
        "=",
        "=1",
        "a..b=1",
        ".=1",
        "model=1",
        "model.base.x=1",
        "a=[",
        "a=*b",
        'a="\\ud800"',
        f"{TITLE}=1",
    )
    yield ".".join("a" * 5000) + "=1"
    yield "training.max_steps=" + "[" * 200
    yield f"name={'x' * 10_000}"
    for key in NUMBERS:
        for value in VALUES:
            yield f"{key}={value}"
