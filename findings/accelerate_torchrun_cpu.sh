#!/usr/bin/env bash
# accelerate under torchrun on a machine without a GPU: every process is process 0 of 1, and each trains a model of its own.
#
# Expected  torchrun sets RANK and WORLD_SIZE; Accelerator() and transformers' TrainingArguments join the group, so that
#           gradients are averaged, rows are shared out and only one process writes checkpoints.
# Happens   Without a GPU, accelerate does set up the process group, and then each process says: process 0 of 1, the main
#           one. A prepared DataLoader gives every process all rows. With ACCELERATE_USE_CPU=true they are one group.
# Matters   No gradient is averaged and every process writes to the same output folder, while the loss falls as usual: a
#           test of multi-process training on a CPU tests nothing. Compare WORLD_SIZE with `num_processes` before step 1.
# Seen      2026-11-29: accelerate 1.15.0, transformers 5.17.0, torch 2.13.0 (CPU), Python 3.11.7, Linux.
#           What this script printed:
#             as it is                 RANK 0 of 2: accelerate 0 of 1, main True; TrainingArguments 0 of 1; rows [0, 1, 2, 3]
#             as it is                 RANK 1 of 2: accelerate 0 of 1, main True; TrainingArguments 0 of 1; rows [0, 1, 2, 3]
#             ACCELERATE_USE_CPU=true  RANK 0 of 2: accelerate 0 of 2, main True; TrainingArguments 0 of 2; rows [0, 2]
#             ACCELERATE_USE_CPU=true  RANK 1 of 2: accelerate 1 of 2, main False; TrainingArguments 1 of 2; rows [1, 3]
#
# Installs the packages into a temporary folder, runs two processes on this machine, ends with 1 where that has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 accelerate==1.15.0 transformers==5.17.0

cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
unset ACCELERATE_USE_CPU
cat > who.py <<'PY'
import logging
import os
import sys

import torch
from accelerate import Accelerator
from transformers import TrainingArguments

logging.disable(logging.WARNING)
arguments = TrainingArguments("out", report_to=[])
accelerator = Accelerator()
rows = [row.item() for row in accelerator.prepare(torch.utils.data.DataLoader(range(4)))]
rank = os.environ["RANK"]
with open(f"{sys.argv[1]}-{rank}", "w") as file:
    print(
        f"RANK {rank} of {torch.distributed.get_world_size()}: accelerate {accelerator.process_index} of "
        f"{accelerator.num_processes}, main {accelerator.is_main_process}; TrainingArguments {arguments.process_index} of "
        f"{arguments.world_size}; rows {rows}",
        file=file,
    )
torch.distributed.destroy_process_group()
PY
run() { # a name, then settings
    name=$1
    shift
    port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    env "$@" venv/bin/python -m torch.distributed.run --master_addr 127.0.0.1 --master_port "$port" --nproc_per_node 2 \
        who.py "$name" > "$name.log" 2>&1 || { cat "$name.log"; exit 1; }
}
run plain OMP_NUM_THREADS=1
run cpu ACCELERATE_USE_CPU=true
sed 's/^/as it is                 /' plain-0 plain-1
sed 's/^/ACCELERATE_USE_CPU=true  /' cpu-0 cpu-1

alone='of 2: accelerate 0 of 1, main True; TrainingArguments 0 of 1; rows [0, 1, 2, 3]'
[ "$(cat plain-0 plain-1)" = "RANK 0 $alone
RANK 1 $alone" ] || { echo "changed without ACCELERATE_USE_CPU"; exit 1; }
[ "$(cat cpu-1)" = 'RANK 1 of 2: accelerate 1 of 2, main False; TrainingArguments 1 of 2; rows [1, 3]' ] ||
    { echo "changed with ACCELERATE_USE_CPU"; exit 1; }
