"""Arithmetic that the hardware is fast at: bfloat16 where there are instructions for it, float32 elsewhere."""

from contextlib import AbstractContextManager

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 run in hardware on this device, rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, enabled: bool) -> AbstractContextManager[object]:
    """Matrix products in bfloat16 within; parameters, logits, losses and statistics stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
