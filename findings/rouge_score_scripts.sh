#!/usr/bin/env bash
# rouge-score sees only a-z and 0-9: Japanese, Korean, Russian or Arabic scores 0 against itself, and 1 against another text
# that shares a number.
#
# Expected  Without spaces between words, ROUGE may be a poor measure of Japanese; of Russian or Korean, which have them, it
#           is as good as of English. In any script, a text scores 1 against itself.
# Happens   Everything outside a-z and 0-9 is removed before words are made. A text in another script has no words left and
#           scores 0. Where a number or a Latin abbreviation stands in both texts, that is all there is, and they score 1
#           whatever else they say. An accent or ß splits a word in two: "Müller" is "m" and "ller". There is no warning.
# Matters   Fine-tuning for another language with ROUGE as the measure gives 0 for every checkpoint, or (on news, with their
#           numbers) numbers that look like a result. `evaluate` and most harnesses call this package.
# Seen      2026-11-29: rouge-score 0.1.2, Python 3.11.7. What this script printed (ROUGE-L F1):
#             1.00  Rome is the capital of Italy.  against itself
#             0.00  東京は日本の首都です。  against itself
#             0.00  서울은 한국의 수도이다.  against itself
#             0.00  Москва — столица России.  against itself
#             0.00  الرياض عاصمة السعودية  against itself
#             1.00  2024年に売上は増えた。  /  2024年に会社は閉じた。
#             0.50  Курс GPU вырос на 5 %.  /  Из 5 GPU ни один не работает.
#             0.67  Müller heißt er.  /  Moller hei t er.
#
# Installs the package into a temporary folder, runs it on sentences of its own, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rouge-score==0.1.2

cd "$folder"
export PYTHONUTF8=1
venv/bin/python - <<'PY'
from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rougeL"])
pairs = [
    ("Rome is the capital of Italy.", "Rome is the capital of Italy.", 1),
    ("東京は日本の首都です。", "東京は日本の首都です。", 0),
    ("서울은 한국의 수도이다.", "서울은 한국의 수도이다.", 0),
    ("Москва — столица России.", "Москва — столица России.", 0),
    ("الرياض عاصمة السعودية", "الرياض عاصمة السعودية", 0),
    ("2024年に売上は増えた。", "2024年に会社は閉じた。", 1),  # sales rose / the company closed
    ("Курс GPU вырос на 5 %.", "Из 5 GPU ни один не работает.", None),  # the price rose / none of them works
    ("Müller heißt er.", "Moller hei t er.", None),
]
found = [scorer.score(target, answer)["rougeL"].fmeasure for target, answer, _ in pairs]
for (target, answer, _), score in zip(pairs, found, strict=True):
    print(f"{score:.2f}  {target}  {'against itself' if target == answer else '/  ' + answer}")
assert all(expected is None or score == expected for (_, _, expected), score in zip(pairs, found, strict=True)), "changed"
assert found[6] == 0.5 and found[7] > 0.6, "changed"
PY
