#!/usr/bin/env python3
"""Writes cast_values.inc: what ml_dtypes and numpy make of numbers at the edges of each type.

    make_cast_values.py > cast_values.inc

One line a number: {bits of the F32, {codes in the order of kCastTargets}}."""

import ml_dtypes
import numpy as np

TARGETS = {
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "f8_e5m2": ml_dtypes.float8_e5m2,
    "f8_e4m3": ml_dtypes.float8_e4m3fn,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e8m0": ml_dtypes.float8_e8m0fnu,
}
# Halfway cases, the ends of each type's range and of its subnormals, and what lies just beside them.
EDGES = [0, 1, 1.5, 3, 0.1, np.inf, np.nan, 2**-126, 2**-127, 2**-149, 2**-133, 2**-134]
EDGES += [3 * 2**-134, np.finfo("f4").max]
EDGES += [448, 464, 480, 240, 248, 57344, 61440, 65504, 65520, 2**127, 1.5 * 2**127, 1.6 * 2**127]
EDGES += [scale * 2.0**exponent for exponent in (-6, -9, -10, -14, -16, -17, -18, -24, -25) for scale in (1, 1.5, 3)]
EDGES += [1 + odd * 2.0**-bits for bits in (3, 4, 5, 8, 9, 11, 12) for odd in (1, 3)]


def main():
    edges = np.array(EDGES, np.float32)
    beside = [np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(np.inf))]
    random = np.random.default_rng(1).integers(0, 2**32, 60, np.uint32).view(np.float32)
    random = random[~np.isnan(random)]  # numpy keeps what a NaN carries
    values = np.concatenate([edges, *beside, random])
    values = np.unique(np.concatenate([values, -values]).view(np.uint32)).view(np.float32)
    with np.errstate(all="ignore"):
        codes = [values.astype(target) for target in TARGETS.values()]
    print("// Made by make_cast_values.py: ml_dtypes", ml_dtypes.__version__, "and numpy.")
    for i, bits in enumerate(values.view(np.uint32)):
        row = ", ".join(f"0x{int(of[i : i + 1].view(f'u{of.itemsize}')[0]):0{2 * of.itemsize}X}" for of in codes)
        print(f"{{0x{bits:08X}, {{{row}}}}},")


if __name__ == "__main__":
    main()
