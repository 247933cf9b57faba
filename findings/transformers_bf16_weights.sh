#!/usr/bin/env bash
# transformers 5 and trl: the same fine-tuning of the same checkpoint moves most weights, or hardly any, by how it is loaded.
#
# Expected  `bf16=True` is mixed precision: products in bf16, weights and optimizer in fp32. So it was with transformers 4,
#           where from_pretrained gave fp32. A trainer that is given a path and one that is given the model loaded from
#           that path train alike.
# Happens   from_pretrained of transformers 5 keeps the checkpoint's bf16. Trainer and SFTTrainer take the weights as they
#           are, with and without `bf16=True`, and AdamW and its moments are bf16 as well: a step of 1e-5 is less than half
#           of bf16's step for most weights, and is rounded away every time, however many follow. SFTTrainer given the
#           *path* loads fp32. There is no warning; gradients look the same, and the loss goes on falling a little,
#           because small weights do move.
# Matters   1e-5 is an ordinary learning rate for full fine-tuning. Load with dtype=torch.float32 where all weights are
#           trained. (LoRA is safe: PEFT holds its matrices in fp32.)
# Seen      2026-11-29: transformers 5.17.0, trl 1.14.2, accelerate 1.15.0, torch 2.13.0 (CPU), Python 3.11.7, Linux. 20
#           steps of a tiny model with a constant learning rate of 1e-5; what this script printed:
#             from_pretrained("model")           bf16=False  moments in bfloat16   16 % of the weights moved
#             from_pretrained("model")           bf16=True   moments in bfloat16   16 % of the weights moved
#             the same with dtype=torch.float32  bf16=True   moments in float32   100 % of the weights moved
#             the path                           bf16=True   moments in float32   100 % of the weights moved
#
# Installs the packages into a temporary folder, runs them on a tiny random model, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.17.0 trl==1.14.2 accelerate==1.15.0 datasets==4.8.5

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
venv/bin/python -W ignore - <<'PY'
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
words = "<pad> <eos> the cat sat on a mat and slept".split()
word_level = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_level, pad_token="<pad>", eos_token="<eos>")
rows = Dataset.from_dict({"text": ["the cat sat on a mat and slept"] * 8})
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, bos_token_id=None, eos_token_id=1, pad_token_id=0, tie_word_embeddings=True,
)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained("model")
tokenizer.save_pretrained("model")
start = dict(AutoModelForCausalLM.from_pretrained("model", dtype=torch.float32).named_parameters())


def moved(title, model, bf16):
    settings = SFTConfig(
        "out", learning_rate=1e-5, lr_scheduler_type="constant", max_steps=20, per_device_train_batch_size=4, bf16=bf16,
        gradient_checkpointing=False, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    )
    trainer = SFTTrainer(model, args=settings, train_dataset=rows, processing_class=tokenizer)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    weights = dict(trainer.model.named_parameters())
    kinds = {str(state["exp_avg"].dtype).removeprefix("torch.") for state in trainer.optimizer.state.values()}
    same = sum((weights[name].float() == start[name]).sum().item() for name in start)
    share = 1 - same / sum(weight.numel() for weight in start.values())
    print(f"{title:34} bf16={bf16!s:5}  moments in {' '.join(kinds):8}  {100 * share:3.0f} % of the weights moved")
    return share


loaded = AutoModelForCausalLM.from_pretrained
found = [
    moved('from_pretrained("model")', loaded("model"), bf16=False),
    moved('from_pretrained("model")', loaded("model"), bf16=True),
    moved("the same with dtype=torch.float32", loaded("model", dtype=torch.float32), bf16=True),
    moved("the path", "model", bf16=True),
]
assert max(found[:2]) < 0.3 and min(found[2:]) > 0.8, "changed"
PY
