#!/bin/sh
# torch's bf16 products on a CPU are wrong, without an error, where OpenMP grants fewer threads than torch asks for.
#
# Expected  OpenMP may always grant fewer threads than a program asks for (OpenMP 5.2, 10.1.1), for example under
#           OMP_THREAD_LIMIT or OMP_DYNAMIC, which clusters set. A product is then slower and otherwise the same.
# Happens   In bf16 the share of the missing threads is never written: with one thread of two, half of the product is
#           whatever the memory held before. There is no warning. fp32 is right, and so are products too small to be
#           shared out. torch.get_num_threads() goes on saying 2. OMP_MAX_ACTIVE_LEVELS=0 does the same.
#           OMP_DYNAMIC=true does it only while the machine's load of the last 15 minutes is high.
# Seen      2026-11-29: torch 2.13.0 (CPU, oneDNN 3.12.0, the wheel's own GNU libgomp), numpy 2.4.0, Python 3.11.7,
#           Linux 6.18, AMD EPYC with avx512_bf16, 2 cores. What this script printed:
#             OMP_NUM_THREADS=2                                        torch says 2  bf16 right  fp32 right
#             OMP_NUM_THREADS=2 OMP_THREAD_LIMIT=1                     torch says 2  bf16 WRONG  fp32 right
#             OMP_NUM_THREADS=2 OMP_MAX_ACTIVE_LEVELS=0                torch says 2  bf16 WRONG  fp32 right
#             OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1                     torch says 1  bf16 right  fp32 right
#
# Installs torch into a temporary folder (a CPU build is enough: point pip at one by PIP_INDEX_URL or PIP_FIND_LINKS),
# runs it on numbers that it makes itself, and ends with 1 where the behaviour is another than the one above.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.0

cat > "$folder/product.py" <<'PY'
import numpy as np
import torch

draw = np.random.default_rng(0)
left, right = (draw.integers(-1, 2, (512, 64)).astype(np.float32) for _ in range(2))
expected = left @ right.T  # whole numbers up to 64, which bf16 holds exactly


def word(dtype):
    product = torch.from_numpy(left).to(dtype) @ torch.from_numpy(right).to(dtype).T
    return "right" if np.array_equal(product.float().numpy(), expected) else "WRONG"


print(f"torch says {torch.get_num_threads()}  bf16 {word(torch.bfloat16)}  fp32 {word(torch.float32)}")
PY

status=0
try() { # what should be printed, then the settings
    expected=$1
    shift
    found=$(env "$@" "$folder/venv/bin/python" "$folder/product.py")
    printf '%-55s  %s\n' "$*" "$found"
    [ "$found" = "$expected" ] || { status=1; echo "  another than: $expected"; }
}

unset OMP_NUM_THREADS OMP_THREAD_LIMIT OMP_DYNAMIC OMP_MAX_ACTIVE_LEVELS MKL_NUM_THREADS
"$folder/venv/bin/python" -c 'import torch; print("torch", torch.__version__)'
try 'torch says 2  bf16 right  fp32 right' OMP_NUM_THREADS=2
try 'torch says 2  bf16 WRONG  fp32 right' OMP_NUM_THREADS=2 OMP_THREAD_LIMIT=1
try 'torch says 2  bf16 WRONG  fp32 right' OMP_NUM_THREADS=2 OMP_MAX_ACTIVE_LEVELS=0
try 'torch says 1  bf16 right  fp32 right' OMP_NUM_THREADS=1 OMP_THREAD_LIMIT=1
exit $status
