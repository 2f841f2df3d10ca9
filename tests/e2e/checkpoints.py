"""Checkpoints as plain Python sees them: read with the safetensors library, written by hand where they must be odd or
broken.

Tensors are (dtype text, array of raw elements): bit patterns are compared, never values."""

import json
import pathlib
import struct
from typing import NamedTuple

import numpy as np
import safetensors

ELEMENT = {
    "BOOL": np.uint8,
    "U8": np.uint8,
    "I8": np.int8,
    "F8_E4M3": np.uint8,
    "F8_E5M2": np.uint8,
    "F8_E8M0": np.uint8,
    "I16": np.int16,
    "U16": np.uint16,
    "F16": np.uint16,
    "BF16": np.uint16,
    "I32": np.int32,
    "U32": np.uint32,
    "F32": np.uint32,
    "I64": np.int64,
    "U64": np.uint64,
    "F64": np.uint64,
}


class Tensor(NamedTuple):
    dtype: str
    array: np.ndarray


def read_file(path):
    """{name: Tensor} of one file."""
    entries = safetensors.deserialize(pathlib.Path(path).read_bytes())
    return {
        name: Tensor(entry["dtype"], np.frombuffer(entry["data"], ELEMENT[entry["dtype"]]).reshape(entry["shape"]))
        for name, entry in entries
    }


def read_folder(folder):
    """All tensors of a folder's files."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(read_file(path))
    return tensors


def read_rank(folder, rank):
    return read_file(pathlib.Path(folder) / f"model-rank-{rank}-part-0.safetensors")


def random_tensor(generator, dtype, *shape):
    """Any bit pattern, NaN and infinities included."""
    element = np.dtype(ELEMENT[dtype])
    return Tensor(dtype, np.frombuffer(generator.bytes(element.itemsize * int(np.prod(shape))), element).reshape(shape))


def write_raw(path, header, data=b""):
    """A file with any header, right or wrong: a dict, or bytes to write as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_file(path, tensors):
    """Tensors one after the other, no padding: the second of two is as unaligned as the first is odd."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    write_raw(path, header, data)


def write_index(folder, file_of):
    index = {"metadata": {}, "weight_map": file_of}
    (pathlib.Path(folder) / "model.safetensors.index.json").write_text(json.dumps(index))


def write_checkpoint(folder, config, files):
    """files: {file name: {tensor name: Tensor}}; an index where there is more than one."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, tensors in files.items():
        write_file(folder / name, tensors)
    if len(files) > 1:
        write_index(folder, {tensor: name for name, tensors in files.items() for tensor in tensors})
    return folder


def differences(held, expected):
    """What is wrong with the tensors of one rank, one line each; empty if nothing."""
    lines = [f"missing: {name}" for name in expected.keys() - held.keys()]
    lines += [f"unexpected: {name}" for name in held.keys() - expected.keys()]
    for name in held.keys() & expected.keys():
        got, want = held[name], expected[name]
        if (got.dtype, got.array.shape) != (want.dtype, want.array.shape):
            lines.append(f"{name}: {got.dtype} {got.array.shape}, expected {want.dtype} {want.array.shape}")
        elif got.array.tobytes() != want.array.tobytes():
            bad = np.argwhere(got.array != want.array)
            lines.append(f"{name}: {len(bad)} of {want.array.size} elements differ, first at {bad[0].tolist()}")
    return lines
