"""Answers in another language than most: real sentences are told, short ones and code are left alone."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.data.findings import Finding
from engine.data.lint.languages import MOST, Languages
from engine.data.prepare import prepare
from engine.data.types import Conversation, Message, Text
from tests.test_data_lint import chat, good
from tests.test_data_prepare import recipe, write

SENTENCES = {
    "Danish": "Vi cyklede hele vejen langs kysten og spiste is, da solen endelig kom frem igen.",
    "Dutch": "Gisteren heb ik de hele dag in de tuin gewerkt en daarna lekker buiten gegeten.",
    "English": "We walked along the river until it was dark and then took the last bus home.",
    "Finnish": "Eilen illalla katsoimme vanhaa elokuvaa ja joimme teetä, koska ulkona satoi koko ajan lunta.",
    "French": "Hier soir, nous avons mangé au petit restaurant du port avant de rentrer à pied.",
    "German": "Gestern sind wir mit dem Zug nach Hamburg gefahren und haben dort im Hafen gegessen.",
    "Hungarian": "Tegnap este a barátaimmal moziba mentünk, és utána még sokáig beszélgettünk a filmről.",
    "Italian": "Ieri sera abbiamo mangiato una pizza in piazza e poi siamo tornati a casa a piedi.",
    "Polish": "Wczoraj wieczorem poszliśmy do kina, a potem długo rozmawialiśmy o tym filmie w domu.",
    "Portuguese": "Ontem à noite fomos jantar fora e depois voltamos para casa a pé pela praia.",
    "Spanish": "Ayer por la noche fuimos a cenar al puerto y después volvimos andando a casa.",
    "Swedish": "Igår kväll åkte vi tåg till Göteborg och åt middag nära hamnen med några vänner.",
    "Turkish": "Dün akşam arkadaşlarımla sinemaya gittik ve sonra sahilde uzun uzun yürüyüp konuştuk.",
}


def found(answers: Sequence[str]) -> list[Finding]:
    languages = Languages()
    rows = [
        Conversation((Message("user", "Tell me something."), Message("assistant", answer)), f"a.jsonl:{n}")
        for n, answer in enumerate(answers, start=1)
    ]
    languages.add(list(enumerate(rows)))
    return languages.findings()


def english(count: int) -> list[str]:
    return [row["messages"][1]["content"] for row in good(count)]


@pytest.fixture(scope="module")
def mixed() -> Finding:
    """A row of each language behind 97 English ones."""
    others = [sentence for name, sentence in SENTENCES.items() if name != "English"]
    (finding,) = found([*english(97), *others, SENTENCES["English"]])
    return finding


def test_answers_in_other_languages_are_named(mixed: Finding) -> None:
    names = [name for name in SENTENCES if name != "English"]
    assert mixed.message.startswith("12 answers are in another language than English: ")
    assert sorted(mixed.message.partition(": ")[2].split(", ")) == [f"1 {name}" for name in names]
    assert (mixed.count, mixed.of, mixed.severity) == (12, 110, "note")
    assert mixed.rows == tuple(range(97, 107))


@pytest.mark.parametrize("name", [name for name in SENTENCES if name != "English"])
def test_main_language_may_be_any(name: str) -> None:
    words = [f"{SENTENCES[name]} ({number})" for number in range(60)]
    (finding,) = found([*words, SENTENCES["English"]])
    assert finding.message == f"1 answer is in another language than {name}: 1 English"
    assert finding.rows == (60,)


def test_short_answers_and_code_are_no_finding() -> None:
    short = ["Ja, gerne.", "Oui, bien sûr, avec plaisir.", "No sé.", ""]
    code = [
        "```python\na = 2\nb = 3\nfor n in range(a, b):\n    print(n + 1, n + 2, sum(n))\n```",
        "| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |\n| 4 | 5 | 6 |\n| 7 | 8 | 9 |",
        "1. Apple\n2. Banana\n3. Orange\n4. Pineapple\n5. Mango\n6. Kiwi\n7. Papaya\n8. Lime\n9. Plum\n10. Fig",
    ]
    assert found([*english(97), *short, *code]) == []


def test_mixed_language_rows_are_intended() -> None:
    assert found([*english(70), *[SENTENCES["German"]] * 17]) != []
    assert found([*english(70), *[SENTENCES["German"]] * 18]) == []


def test_easily_confused_languages_are_not_told_apart() -> None:
    norwegian = "I går gikk vi lenge langs elva og spiste is da sola endelig kom fram igjen."
    danish = [f"{SENTENCES['Danish']} ({number})" for number in range(60)]
    assert found([*danish, norwegian]) == []
    (finding,) = found([*danish, *[norwegian] * 40, SENTENCES["German"]])
    assert finding.message == "1 answer is in another language than Danish: 1 German"
    (other,) = found([*english(60), norwegian])
    assert other.message == "1 answer is in another language than English: 1 Norwegian"


def test_tool_calls_do_not_hide_other_languages() -> None:
    (finding,) = found([*[""] * 100, *english(60), SENTENCES["German"]])
    assert (finding.count, finding.of) == (1, 61)


def test_few_rows_are_not_judged_by_language() -> None:
    """Rows of another script are left to the finding on scripts."""
    assert found([*english(48), SENTENCES["German"]]) == []
    assert found([*english(49), SENTENCES["German"]]) != []
    assert (
        found([*english(60), "Вчера вечером мы долго гуляли вдоль реки и потом поехали домой на автобусе."])
        == []
    )


def test_spaceless_scripts_are_judged_by_characters() -> None:
    chinese = [
        f"昨天晚上我们沿着河边走了很久，然后坐最后一班公共汽车回家，路上还买了一些水果和面包，第{n}次。"
        for n in range(60)
    ]
    assert found(chinese) == []
    assert found([*chinese, *english(3)]) == []


def test_language_needs_ten_words_or_forty_characters() -> None:
    words = SENTENCES["German"].split()
    assert len(" ".join(words[:9])) > 40
    assert found([*english(60), " ".join(words[:9])]) == []
    assert found([*english(60), " ".join(words[:10])]) != []
    text = (
        "昨天晚上我们沿着河边走了很久，然后坐最后一班公共汽车回家，路上还买了一些水果和面包，大家都很高兴。"
    )
    for length, told in ((39, 0), (40, 60)):
        languages = Languages()
        languages.add([(number, Text("", text[:length], "a:1")) for number in range(60)])
        assert len(languages._detected()) == told
    japanese = "昨日の夜は川沿いを長く歩いてから最終バスに乗って家に帰り、途中で果物とパンも買いました。"
    chinese = [text[:40]] * 60
    assert found([*chinese, japanese]) == [], "another script"


def test_unnamed_language_does_not_crash() -> None:
    occitan = "Ièr de ser anèrem manjar al port e puèi tornèrem a l'ostal a pè amb los amics."
    assert [one.count for one in found([*english(60), occitan, SENTENCES["German"]])] in ([1], [2])


def test_language_of_many_rows_is_sampled() -> None:
    """The share is kept."""
    answers = [SENTENCES["German"] if n % 25 == 3 else text for n, text in enumerate(english(100) * 50)]
    languages = Languages()
    for start in range(0, len(answers), 100):
        part = answers[start : start + 100]
        languages.add([(start + n, Text("", text, "a:1")) for n, text in enumerate(part)])
        assert len(languages._held) < MOST
    (finding,) = languages.findings()
    assert finding.of <= MOST
    assert finding.share == pytest.approx(0.04, abs=0.005)
    assert f" answers of {finding.of:,} sampled are in another language than English" in finding.message
    assert all(answers[row] == SENTENCES["German"] for row in finding.rows)


def test_check_counts_language_once_per_row(tmp_path: Path, tiny_model: Path) -> None:
    """A row may make any number of examples."""
    rows = [*good(60), chat("Sag etwas.", SENTENCES["German"])]
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last or m.role == 'user' %}{{ m.content }}{% else %}(earlier){% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    two = {"messages": [*rows[-1]["messages"], *rows[-1]["messages"]]}
    config = recipe(write(tmp_path / "a.jsonl", [*rows[:-1], two]), validation=0)
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"chat_template": str(template)})}
    )
    dataset = prepare(config, tiny_model, lint=True)
    finding = next(one for one in dataset.findings if one.kind == "language")
    assert (finding.count, finding.rows) == (1, (60,))
    assert finding.message == "1 answer is in another language than English: 1 German"


def test_language_library_is_imported_only_when_needed() -> None:
    code = (
        "import sys; from tests.test_data_lint_languages import english, found\n"
        "found(english(49)); print('py3langid' in sys.modules); found(english(50)); print('py3langid' in sys.modules)"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == ["False", "True"]
