#!/usr/bin/env python3
"""Writes quantize_values.inc: what numpy and ml_dtypes make of blocks with NaNs, infinities, zeros and tiny numbers.

    make_quantize_values.py > quantize_values.inc

One line a block: {{bits of eight F32}, {codes, scales F32}, bits of the scale, {codes, scales F8_E8M0}, its code}. As
for torch, but that a NaN doesn't count for the greatest value, and what becomes no number keeps its sign."""

import ml_dtypes
import numpy as np

BLOCKS = [
    [0.0, -0.0, 0.0, -0.0, 0.0, -0.0, 0.0, -0.0],
    [-0.0, 0.0, 1, -1, 3, -0.1, 1e-30, -1e-30],
    [np.nan, -np.nan, 0.0, -0.0, 1, -1, 447, -448],
    [np.nan, -np.nan, np.nan, -np.nan, np.nan, -np.nan, np.nan, -np.nan],
    [np.nan, -np.nan, 0.0, -0.0, np.nan, -np.nan, 0.0, -0.0],
    [np.inf, -np.inf, 0.0, -0.0, 1, -1, 3e38, -1e-40],
    [np.inf, -np.inf, np.nan, -np.nan, 0.0, -0.0, 448, -448],
    [-np.inf, -np.inf, -np.nan, -0.0, -1, -448, -3e38, -1e-45],
    [1e-45, -1e-45, 0.0, -0.0, np.nan, -np.nan, 0.0, -0.0],
    [1e-38, -1e-38, 1e-45, -1e-45, 0.0, -0.0, np.nan, -np.nan],
    [3.4028235e38, -3.4028235e38, 1, -1, 0.0, -0.0, np.nan, -np.nan],
    [1.5, -1.5, 1.46875, -1.40625, 0.0029296875, -0.0029296875, 0.0, -0.0],
]
SIGNALLING = [0x7F800001, 0xFF800001, 0x7FC12345, 0xFFFFFFFF, 0x80000000, 0x00000000, 0x3F800000, 0xC0400000]


def e4m3(values, scale):
    product = np.clip(values * scale, np.float32(-448), np.float32(448))
    product = np.where(np.isnan(product), np.copysign(np.float32(np.nan), values), product)
    return product.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def row_of(values):
    numbers = np.abs(values[~np.isnan(values)])
    greatest = numbers.max() if numbers.size else np.float32(0)
    scale = np.float32(448) / greatest if greatest > 0 else np.float32(1)
    inverse = np.float32(1) / scale
    exponent = 127 if np.isinf(inverse) else -127 if inverse == 0 else int(np.ceil(np.log2(np.float64(inverse))))
    exponent = min(max(exponent, -127), 127)
    power = np.float32(2.0**exponent)
    code = np.array([power]).astype(ml_dtypes.float8_e8m0fnu).view(np.uint8)[0]
    assert code == exponent + 127
    bits = ", ".join(f"0x{bits:08X}" for bits in values.view(np.uint32))
    codes, coarse = (
        ", ".join(f"0x{code:02X}" for code in e4m3(values, by)) for by in (scale, np.float32(2.0**-exponent))
    )
    return f"{{{{{bits}}}, {{{codes}}}, 0x{inverse.view(np.uint32):08X}, {{{coarse}}}, 0x{code:02X}}},"


def main():
    blocks = [np.array(block, np.float32) for block in BLOCKS] + [np.array(SIGNALLING, np.uint32).view(np.float32)]
    print("// Made by make_quantize_values.py: ml_dtypes", ml_dtypes.__version__, "and numpy.")
    with np.errstate(all="ignore"):
        for block in blocks:
            print(row_of(block))


if __name__ == "__main__":
    main()
