"""Answers in another language than most, by py3langid (naive Bayes over byte sequences, Lui and Baldwin 2011).

The library is imported after the last row, and its model, which takes half a second to load, is freed immediately.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from engine.data.findings import RULES, SHOWN, Finding
from engine.data.lint.texts import SCRIPT_CHARACTERS, script, texts
from engine.data.types import Row

MOST = 4000
"""Most answers that are held; of more rows, every second, every fourth … is sampled."""
FEWEST_WORDS, FEWEST_CHARACTERS = 10, 40
"""Below them an answer's language is a guess; the latter for scripts that part no words."""
UNSPACED = ("Han", "Japanese", "Thai")
FEWEST_ROWS = 50
"""Fewest answers of one script with a detected language, for others to stand out."""
OWN = 0.8
"""Share of the answers in one language, below which the rows are of several languages anyway."""
SURE = 0.5
"""Least probability of a detected language: of 857 English answers of ten words, none was wrong and 34 undecided."""
NAMES: Mapping[str, str] = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech",
    "cy": "Welsh", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
    "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "ga": "Irish", "gu": "Gujarati", "he": "Hebrew",
    "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic",
    "it": "Italian", "ja": "Japanese", "ka": "Georgian", "kk": "Kazakh", "km": "Khmer", "kn": "Kannada", "ko": "Korean",
    "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam", "mn": "Mongolian",
    "mr": "Marathi", "ms": "Malay", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "si": "Sinhala", "sk": "Slovak", "sl": "Slovene",
    "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai",
    "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "vi": "Vietnamese",
    "zh": "Chinese",
}  # fmt: skip
NO_LANGUAGE = "zxx"
"""Code that the library gives to numbers, tables and code."""
NEAR = (
    {"da", "no"}, {"hr", "sr"}, {"id", "ms"}, {"cs", "sk"}, {"ca", "es", "pt"}, {"bg", "mk"}, {"hi", "mr", "ne"},
    {"af", "nl"},
)  # fmt: skip
"""Languages that are mistaken for one another: where most answers are in one, the other is not reported."""


class Languages:
    """Collects answers of rows, in the order of their numbers."""

    def __init__(self) -> None:
        self._held: list[tuple[int, str]] = []
        self._step = 1

    def add(self, rows: Sequence[tuple[int, Row]]) -> None:
        """Add a chunk of rows by their numbers; a row that comes twice counts once."""
        for number, row in rows:
            if number % self._step or (self._held and self._held[-1][0] == number):
                continue
            self._held.append((number, _answer(row)))
            if len(self._held) == MOST:
                self._step *= 2
                self._held = [one for one in self._held if not one[0] % self._step]

    def findings(self) -> list[Finding]:
        """The answers in another language than most, among those in the script of most."""
        detected = self._detected()
        counts = Counter(detected.values())
        own = counts.most_common(1)[0][0] if counts else ""
        same = next((near for near in NEAR if own in near), {own})
        rows = [number for number, language in detected.items() if language not in same]
        if not rows or len(detected) < FEWEST_ROWS or len(rows) > (1 - OWN) * len(detected):
            return []
        others = Counter(detected[number] for number in rows)
        listed = ", ".join(f"{count:,} {NAMES[language]}" for language, count in others.most_common())
        what, are = ("answer", "is") if len(rows) == 1 else ("answers", "are")
        sampled = f" of {len(detected):,} sampled" if self._step > 1 else ""
        message = f"{len(rows):,} {what}{sampled} {are} in another language than {NAMES[own]}: {listed}"
        rule, of, first = RULES["language"], len(detected), tuple(rows[:SHOWN])
        return [Finding("language", rule.severity(len(rows), of), message, rule.fix, len(rows), of, first)]

    def _detected(self) -> dict[int, str]:
        """The language of each answer that is long enough, by the row's number."""
        written = [(number, text, script(text)) for number, text in self._held]
        counts = Counter(kind for _, _, kind in written if kind)
        most = counts.most_common(1)[0][0] if counts else ""
        long = [(number, text) for number, text, kind in written if kind == most and _tells(text, most)]
        if len(long) < FEWEST_ROWS:
            return {}
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        model.set_languages([*NAMES, NO_LANGUAGE])
        found = {number: model.classify(text) for number, text in long}
        return {
            number: language
            for number, (language, sure) in found.items()
            if sure >= SURE and language != NO_LANGUAGE
        }


def _answer(row: Row) -> str:
    said = [text for role, text in texts(row) if role == "assistant"]
    return said[-1][:SCRIPT_CHARACTERS] if said else ""


def _tells(text: str, written: str) -> bool:
    return len(text.split()) >= FEWEST_WORDS or (written in UNSPACED and len(text) >= FEWEST_CHARACTERS)
