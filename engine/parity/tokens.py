"""Tokens that training and an export make of the same texts and conversations."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message
from engine.errors import ModelError
from engine.parity.exported import Exported
from engine.parity.known_differences import reason
from engine.units import one_line

TEXTS = (
    "I can't say they've gone; she'll ask, we'd wait, it's John's. I'M SURE YOU'RE RIGHT, DON'T ASK.",
    "0 7 42 365 1024 31415 271828 1234567890  3.14159  1,000,000  2026-11-29T17:04:59Z  0xFF  1e-07",
    "a  b   c    d\te\t\tf \n\n\n  g \r\n h\u00a0i\u2003j\u3000k   ",
    "naïve café Ångström œuvre — “quoted” ‘single’ … ½ ² ∑ ≈ € ₹ № cafe\u0301 u\u0308ber",
    "東京都は日本の首都です。中文没有空格。한국어 문장입니다. ภาษาไทยไม่มีช่องว่าง",
    "Привет, мир! Καλημέρα κόσμε. שלום עולם מה שלומך؟ مرحبا بالعالم ١٢٣ नमस्ते दुनिया",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 👍🏽 🇯🇵 \U0001f9d1\u200d💻 ❤️ ✂︎",
    "def f(x):\n\treturn {'a': [x**2, ~x, x != 0], \"b\": f'{x:>8.3f}'}  # noqa\n\n\n\n    pass\n",
    "https://example.org/a_b/c-d?e=%20f&g=#h foo.bar@baz.qux C:\\new\\table $HOME/${x} <b>&amp;</b> [](){}",
    "CamelCaseWordsAndHTTPServers snake_case_words kebab-case-words ALLCAPS mIxEd antidisestablishmentarianism",
    "!!! ??? ... --- *** ___ ''' \"\"\" ,,, ;;; ((([[[{{{ <<>> || && ++ == != <= >= -> => :: //",
    "\n",
    " ",
    " leading",
    "trailing ",
    "'s",
    "A",
    "\u200b\ufeffzero width",
)
"""Texts on which tokenizers differ that agree on ordinary English."""
CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (Message("user", "What's the capital of France?"),),
    (Message("system", "Answer in one word."), Message("user", "What's the capital of France?")),
    (
        Message("user", "Hi"),
        Message("assistant", "Hello. What can I do for you?"),
        Message("user", "Write 2 + 2 = 4\n\nin words."),
    ),
    (
        Message("system", "You're terse.\nNever say more than you're asked."),
        Message("user", "def f(x):\n\treturn x"),
        Message("assistant", "It's the identity."),
        Message("user", "東京は? 👍🏽"),
    ),
)


@dataclass(frozen=True)
class TokenCheck:
    """Number of texts and of conversations that were compared, and those that became other tokens, in words."""

    texts: int
    conversations: int
    different: tuple[str, ...] = ()
    explained: tuple[str, ...] = ()
    """Texts that the program reads otherwise whatever is exported, and why. See `known_differences`."""


def compare(tokenizer: Tokenizer, exported: Exported) -> TokenCheck:
    """Compare the tokens of the tokenizer that the model was trained with to those of its export.

    A text stands behind the token with which conversations open, where they open with one: some tokenizers put a space
    in front of a text that has nothing before it. A conversation that the template refuses in training is left out.
    """

    def ours(text: str) -> list[int]:
        return tokenizer.encode([text], special=False)[0]

    different: list[str] = []
    explained: list[str] = []
    conversations, lead = 0, opening(tokenizer)
    for text in TEXTS:
        wanted, found = ours(lead + text), exported.text_ids(lead + text)
        if found != wanted:
            what = _difference(repr(one_line(text, 40)), tokenizer, wanted, found)
            why = reason(lead + text, ours, exported.text_ids)
            (explained if why else different).append(f"{what}: {why}" if why else what)
    for messages in CONVERSATIONS:
        try:
            wanted = tokenizer.prompt_ids(messages)
        except ModelError:
            continue
        conversations += 1
        what = f"a conversation of {', '.join(message.role for message in messages)}"
        try:
            found = exported.prompt_ids(messages)
        except ValueError as error:
            different.append(f"{what}: the exported template refuses it: {one_line(str(error), 120)}")
            continue
        if found != wanted:
            different.append(_difference(what, tokenizer, wanted, found))
    return TokenCheck(len(TEXTS), conversations, tuple(different), tuple(explained))


def opening(tokenizer: Tokenizer) -> str:
    """The added token with which conversations open; empty where they open with text, or there is no template."""
    try:
        first = tokenizer.prompt_ids([Message("user", "Hello")])[:1]
    except ModelError:
        return ""
    return tokenizer.added.get(first[0], "") if first else ""


def _difference(what: str, tokenizer: Tokenizer, wanted: Sequence[int], found: Sequence[int]) -> str:
    """One sentence on the first token that differs."""
    pairs = enumerate(zip(wanted, found, strict=False))
    first = next((index for index, (a, b) in pairs if a != b), min(len(wanted), len(found)))
    ours, theirs = (
        repr(tokenizer.decode(ids[first : first + 4], skip_special=False)) if first < len(ids) else "its end"
        for ids in (wanted, found)
    )
    return f"{what}: {theirs} instead of {ours} at token {first + 1}"
