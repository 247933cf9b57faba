#!/usr/bin/env bash
# PEFT with PiSSA or OLoRA: the model with its adapter off is not the base model, and trl's DPO compares against that.
#
# Expected  Adapter on at the start: the base model, as with LoRA's B = 0. Adapter off: the base model, always. An adapter
#           that was saved is loaded as it was.
# Happens   PiSSA and OLoRA put the main directions of W into B·A and *subtract* them from W. With the adapter off, the
#           model lacks them. DPOTrainer with peft_config takes "adapter off" as its reference, so the first margin is not
#           0 and the first loss not ln 2: the model is held near a damaged one. A fast PiSSA (pissa_niter_N) is made with
#           random numbers, which are drawn again when the adapter is loaded, so W is another each time. No warning.
# Matters   "The base model" beside an adapter (chat with it off, the KL term of DPO or GRPO, a comparison before and after)
#           is wrong for these two. Convert such an adapter to an ordinary LoRA (save_pretrained with
#           path_initial_model_for_weight_conversion), and load the base anew to compare.
# Seen      2026-11-29: peft 0.21.2, trl 1.14.2, transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux. Distances
#           are of logits, as a share of the base model's; what this script printed:
#             LoRA           on  0 %  off  0 %  saved and loaded  0 %  DPO's first margin +0.000
#             orthogonal     on  0 %  off  0 %  saved and loaded  0 %  DPO's first margin +0.000
#             olora          on  0 %  off 123 %  saved and loaded  0 %  DPO's first margin -0.134
#             pissa          on  0 %  off 141 %  saved and loaded  0 %  DPO's first margin +0.198
#             pissa_niter_4  on  0 %  off 133 %  saved and loaded 50 %  DPO's first margin -0.054
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0 trl==1.14.2 peft==0.21.2 datasets==4.8.5 accelerate==1.15.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
venv/bin/python -W ignore - <<'PY'
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
words = "<pad> <eos> say please thanks yes no a b c".split()
word_level = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_level, pad_token="<pad>", eos_token="<eos>")
pairs = Dataset.from_dict({"prompt": ["say please ", "say thanks "], "chosen": ["yes", "yes"], "rejected": ["no", "a"]})
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, bos_token_id=None, eos_token_id=1, pad_token_id=0, initializer_range=0.2,
)
LlamaForCausalLM(config).save_pretrained("base")
ids = torch.tensor([[2, 3, 5, 1, 7, 8, 9]])


def base():
    return LlamaForCausalLM.from_pretrained("base")


def adapter(start):
    return LoraConfig(r=8, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=start)


@torch.no_grad()
def logits(model):
    return model.eval()(ids).logits


right = logits(base())


def distances(start):
    """Of the logits from the base model's: adapter on, adapter off, and of the saved adapter, loaded, from itself."""
    torch.manual_seed(1)
    model = get_peft_model(base(), adapter(start))
    on = logits(model)
    with model.disable_adapter():
        off = logits(model)
    model.save_pretrained("adapter")
    torch.manual_seed(2)
    loaded = logits(PeftModel.from_pretrained(base(), "adapter"))
    return [((one - other).norm() / right.norm()).item() for one, other in ((on, right), (off, right), (loaded, on))]


def margin(start):
    torch.manual_seed(1)
    settings = DPOConfig(
        "out", learning_rate=0.0, max_steps=1, logging_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        bf16=False, disable_tqdm=True, save_strategy="no",
    )
    trainer = DPOTrainer(base(), args=settings, train_dataset=pairs, processing_class=tokenizer, peft_config=adapter(start))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return trainer.state.log_history[0]["rewards/margins"]


found = {}
for start in (True, "orthogonal", "olora", "pissa", "pissa_niter_4"):
    on, off, loaded = distances(start)
    first = margin(start)
    found[start] = [on > 1e-3, off > 1e-3, loaded > 1e-3, abs(first) > 1e-3]
    print(
        f"{'LoRA' if start is True else start:13}  on {100 * on:2.0f} %  off {100 * off:2.0f} %  saved and loaded {100 * loaded:2.0f} %  "
        f"DPO's first margin {first:+.3f}"
    )
same, taken_out = [False] * 4, [False, True, False, True]
drawn_again = [False, True, True, True]
assert found == {True: same, "orthogonal": same, "olora": taken_out, "pissa": taken_out, "pissa_niter_4": drawn_again}, "changed"
PY
