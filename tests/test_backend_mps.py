"""Apple's GPU through torch (MPS): the rules of a plan, and that the installed torch has what runs there."""

import dataclasses
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.device_interface import MpsInterface
from torch.utils._foreach_utils import _get_foreach_kernels_supported_devices

from engine.backends.torch import memory
from engine.backends.torch.optimizer import optimizer_of
from engine.config.sections import Training
from engine.errors import ConfigError
from tests.plan_fixtures import GB, MPS, plan, with_gpu

NATIVE = Path(torch.__file__).parents[1] / "torchgen/packaged/ATen/native/native_functions.yaml"


@pytest.mark.parametrize(
    ("sections", "instead"),
    [
        ({"model": {"quantization": "4bit"}}, "backend: mlx"),
        ({"model": {"quantization": "8bit"}}, "backend: mlx"),
        ({"training": {"optimizer": "adamw_8bit"}}, "optimizer: adamw"),
        ({"training": {"optimizer": "paged_adamw_8bit"}}, "optimizer: adamw"),
        ({"model": {"quantization": "4bit"}, "adapter": {"init": "loftq"}}, "init: default"),
    ],
)  # fmt: skip
def test_bitsandbytes_on_mps_is_refused_with_alternative(sections: dict[str, Any], instead: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(MPS, **sections)
    assert instead in refused.value.hint


def test_plan_advises_small_mac_nothing_refused() -> None:
    small = dataclasses.replace(with_gpu(MPS, total_bytes=2 * GB), ram_bytes=8 * GB, available_bytes=4 * GB)
    settled = plan(small, adapter={"type": "none"})
    assert settled.fits == "no"
    assert settled.advice
    assert "8bit" not in " ".join(settled.advice)


def test_plan_takes_bf16_on_every_mac() -> None:
    settled = plan(MPS)
    assert (settled.device, settled.weights_dtype, settled.compute_dtype) == ("mps", "bf16", "bf16")
    assert MpsInterface.is_bf16_supported()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_full_training_casts_half_formats_on_mps(dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a format that it does not have is only warned of, and not cast to
        with torch.autocast("mps", dtype):
            assert torch.is_autocast_enabled("mps")
            assert torch.get_autocast_dtype("mps") == dtype


def kernels(*names: str) -> dict[str, str]:
    """By operator of torch, the devices that it has kernels for, as the wheel's own table says."""
    blocks = {one.split("(")[0]: one for one in NATIVE.read_text().split("\n- func: ")}
    found = {}
    for name in names:
        table = re.search(r"  dispatch:\n((?:    .*\n)+)", blocks[name] + "\n")
        found[name] = table[1] if table else ""
    return found


def test_fp16_loss_scaling_works_on_mps() -> None:
    """It uses no numbers that MPS does not have."""
    assert torch.amp.GradScaler("mps").is_enabled()
    for devices in kernels("_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_").values():
        assert "MPS" in devices
    scaler = Path(torch.amp.grad_scaler.__file__).read_text()
    assert re.search(r'\.double\(\)[^)]*\)[^:]*if self\._scale\.device != torch\.device\("mps:0"\)', scaler)


def test_mps_has_kernels_of_layers_and_losses() -> None:
    of_ours = (
        "mm.out", "addmm.out", "rsqrt.out", "sigmoid.out", "addcmul.out", "bernoulli_.float", "index_select",
        "gather.out", "amax.out", "exp.out", "log.out", "_index_put_impl_", "multinomial", "_softmax.out",
        "_scaled_dot_product_attention_math_for_mps", "linalg_qr.out", "_linalg_solve_ex.result",
    )  # fmt: skip
    without = [name for name, devices in kernels(*of_ours).items() if "MPS" not in devices]
    assert without == []


def test_missing_mps_kernel_falls_back_to_cpu() -> None:
    """PiSSA's decomposition. torch reads the variable when it is loaded, so it has to be there by then."""
    assert "MPS" not in kernels("_linalg_svd.U")["_linalg_svd.U"]
    look = (
        "import sys, os, engine.backends.torch as ours; "
        "print('torch' in sys.modules, os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTORCH_ENABLE_MPS_FALLBACK"}
    said = subprocess.run(
        [sys.executable, "-c", look], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", "1"]


def test_peak_memory_on_mps_is_largest_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([3, 9, 5, 12, 4])
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: next(told))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: None)
    gauge = memory.Gauge(torch.device("mps"))
    readings = [gauge.reading() for _ in range(3)]
    assert [(one.device_bytes, one.device_peak_bytes) for one in readings] == [(3, 3), (9, 9), (5, 9)]
    gauge.release()  # what was held when memory ran out is seen before it is given back
    assert gauge.reading().device_peak_bytes == 12


def test_adamw_batches_tensors_where_kernels_exist() -> None:
    """A CPU has one that moves a tensor in one pass, which is faster there."""
    assert "mps" not in _get_foreach_kernels_supported_devices()
    on_cpu, elsewhere = (
        optimizer_of(Training(), {"w": torch.nn.Parameter(torch.zeros(2, device=device))}).defaults
        for device in ("cpu", "meta")
    )
    assert (on_cpu["fused"], on_cpu["foreach"]) == (True, None)
    assert (elsewhere["fused"], elsewhere["foreach"]) == (None, True)


def test_adamw_state_has_no_64_bit_numbers() -> None:
    one = torch.nn.Parameter(torch.zeros(2))
    optimizer = optimizer_of(Training(), {"w": one})
    one.grad = torch.ones(2)
    optimizer.step()
    assert {value.dtype for value in optimizer.state[one].values()} == {torch.float32}
