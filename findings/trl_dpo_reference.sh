#!/usr/bin/env bash
# trl's DPOTrainer, given a model object and no reference, compares against the weights on disk, not against that model.
#
# Expected  Without `ref_model` the reference is the model as it is before the first step (so says the docstring of
#           `ref_model`), and so the reward margin of every pair starts at 0.
# Happens   The reference is read again from the path in `model.config`. Whatever was done to the model in memory since
#           it was loaded is missing from it: after LoRA training and `merge_and_unload()`, the reference is the *base*
#           model. There is no error and no warning; only a first margin other than 0 and a first loss other than
#           ln 2 = 0.693 show it. Saving the merged model and loading it again gives 0 as expected, and so does a new
#           adapter (`peft_config=`), where the reference is the model with its adapter off.
# Matters   SFT and then DPO in one program is the usual pair. DPO then measures its distance from the model before SFT.
# Seen      2026-11-29: trl 1.14.2, transformers 5.17.0, peft 0.21.2, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             merged in memory               loss 0.6615  margin +0.0645  reference is the base model: True
#             merged, saved, loaded again    loss 0.6931  margin +0.0000  reference is the base model: False
#             merged in memory, new adapter  loss 0.6931  margin +0.0000  no reference model
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
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl import DPOConfig, DPOTrainer

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

words = "<pad> <eos> say please thanks yes no a b c".split()
word_level = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
word_level.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_level, pad_token="<pad>", eos_token="<eos>")
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, bos_token_id=None, eos_token_id=1, pad_token_id=0,
)
LlamaForCausalLM(config).save_pretrained("base")
base = LlamaForCausalLM.from_pretrained("base")
pairs = Dataset.from_dict({"prompt": ["say please ", "say thanks "], "chosen": ["yes", "yes"], "rejected": ["no", "a"]})


def trained_and_merged():
    torch.manual_seed(0)
    model = get_peft_model(LlamaForCausalLM.from_pretrained("base"), LoraConfig(r=4, target_modules=["v_proj", "down_proj"]))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    ids = torch.tensor([[2, 3, 5, 1]])  # say please yes <eos>
    for _ in range(40):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.merge_and_unload().requires_grad_(True)


def first_step(title, model, **more):
    settings = DPOConfig(
        "out", learning_rate=0.0, max_steps=1, logging_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        bf16=False, disable_tqdm=True, save_strategy="no",
    )
    trainer = DPOTrainer(model, args=settings, train_dataset=pairs, processing_class=tokenizer, **more)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    log = trainer.state.log_history[0]
    reference = "no reference model"
    if trainer.ref_model is not None:
        same = all(map(torch.equal, trainer.ref_model.parameters(), base.parameters()))
        reference = f"reference is the base model: {same}"
    print(f"{title:30} loss {log['loss']:.4f}  margin {log['rewards/margins']:+.4f}  {reference}")
    return log["rewards/margins"]


in_memory = first_step("merged in memory", trained_and_merged())
trained_and_merged().save_pretrained("merged")
from_disk = first_step("merged, saved, loaded again", LlamaForCausalLM.from_pretrained("merged"))
adapter = first_step("merged in memory, new adapter", trained_and_merged(), peft_config=LoraConfig(r=4, target_modules=["q_proj"]))
assert in_memory > 0.01 and from_disk == 0 and adapter == 0, "changed"
PY
