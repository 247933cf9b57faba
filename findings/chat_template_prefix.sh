#!/usr/bin/env bash
# Chat templates: in six of trl's the generation prompt is no prefix of the rendered answer, and in seven others an answer is
# rendered otherwise once a turn follows.
#
# Expected  The text of a conversation up to the answer, with add_generation_prompt=True, is how the text of the whole begins:
#           so the model is asked, so it is trained, and to mask the prompt is to mask as many tokens as the prompt has. And
#           what was rendered stays when turns are added.
# Happens   R1 distill and DeepSeek V3 ask with an opened think block and render the answer without one; Nemotron 3 opens and
#           closes it at once. Qwen 3, 3.5 and 3.6 give the last answer an empty think block that goes once a user turn
#           follows; gpt-oss ends the last answer with another token; Phi-3 ends every rendering with the end-of-text token.
# Matters   A mask by the prompt's length covers the first tokens of the answer instead: all of it where the answer is one
#           word. No error says so. And a conversation trained in one piece has contexts that inference never makes. Find
#           the answer's span in the rendered text, and render each answer as the last one.
# Seen      2026-11-29: the templates that come with trl 1.14.2, rendered by transformers 5.17.0, jinja2 3.1.6,
#           Python 3.11.7. What this script printed:
#             deepseek_r1_distill      asked '<think>\n', trained 'Yes.<｜end▁of▁sentence｜>'
#             deepseekv3               asked '<think>\n', trained 'Yes.<｜end▁of▁sentence｜>'
#             gptoss                   last 'return|>', once turns follow 'end|><|start|>user<|message|>'
#             nemotron_3_5_lightning   asked '\n', trained '</think>Yes.<|im_end|>\n'
#             nemotron_3_nano          asked '\n', trained '</think>Yes.<|im_end|>\n'
#             nemotron_3_super         asked '\n', trained '</think>Yes.<|im_end|>\n'
#             nemotron_3_ultra         asked '\n', trained '</think>Yes.<|im_end|>\n'
#             phi3                     last 'eos>', once turns follow '|user|>\n'
#             phi3_5                   last 'eos>', once turns follow '|user|>\n'
#             qwen3                    last '<think>\n\n</think>\n\nYes.<|im_end|>\n', once turns follow 'Yes.<|im_end|>\n<|im_start|>user\n'
#             qwen3_5_nothink          last '<think>\n\n</think>\n\nYes.<|im_end|>\n', once turns follow 'Yes.<|im_end|>\n<|im_start|>user\n'
#             qwen3_5_think            last '<think>\n\n</think>\n\nYes.<|im_end|>\n', once turns follow 'Yes.<|im_end|>\n<|im_start|>user\n'
#             qwen3_6                  last '<think>\n\n</think>\n\nYes.<|im_end|>\n', once turns follow 'Yes.<|im_end|>\n<|im_start|>user\n'
#             19 others hold
#
# Installs the packages (trl without what it needs: only its templates are read) into a temporary folder, renders three
# turns, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.17.0 jinja2==3.1.6
"$folder/venv/bin/pip" install --quiet --no-deps trl==1.14.2

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
venv/bin/python -W ignore - <<'PY'
import importlib.util
import os
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

transformers.logging.set_verbosity_error()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.BPE()), bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
)
question, answer = {"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}
with_images = {"idefics3", "llava_next"}  # their messages are lists of parts


def ending(text, other):
    """What text has after the part that both begin with."""
    return text[len(os.path.commonprefix([text, other])) :]


templates = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
names = sorted(path.stem for path in templates.glob("*.jinja") if not path.stem.endswith("_training"))
other_prompt, other_later = [], []
for name in names:
    if name in with_images:
        continue

    def text(*messages, name=name, **options):
        template = (templates / f"{name}.jinja").read_text()
        return tokenizer.apply_chat_template(list(messages), chat_template=template, tokenize=False, **options)

    prompt, whole = text(question, add_generation_prompt=True), text(question, answer)
    if asked := ending(prompt, whole):
        other_prompt.append(name)
        print(f"{name:24} asked {asked!r}, trained {ending(whole, prompt)!r}")
    if alone := ending(whole, text(question, answer, question)):
        other_later.append(name)
        then = ending(text(question, answer, question), whole)
        print(f"{name:24} last {alone!r}, once turns follow {then[: then.find('Is it?')]!r}")
rest = len(names) - len(with_images) - len(other_prompt) - len(other_later)
print(f"{rest} others hold")
assert other_prompt == [
    "deepseek_r1_distill", "deepseekv3", "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"
], "the generation prompts have changed"  # fmt: skip
assert other_later == ["gptoss", "phi3", "phi3_5", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6"], "later turns have changed"
PY
