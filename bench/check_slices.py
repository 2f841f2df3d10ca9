"""Which tensors are wrong: digests of what ranks hold against slices that numpy cuts out of the files."""
import functools
import hashlib
import json
import math
import re

import numpy as np
from usual_cut import cut_dim, files_of, part_of

EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(gate|up|down)_proj\.weight")


def digest(array):
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


@functools.cache
def header_of(path):
    """Entries of a file and where its data begin."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def tensors_of(path):
    """(name, elements as raw bytes: shape and then the bytes of one element) of every tensor of a file."""
    header, data = header_of(path)
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        count = max(1, math.prod(entry["shape"]))
        yield name, mapped[data + begin : data + end].reshape(*entry["shape"], (end - begin) // count)


def digests_of_file(path):
    return {name: digest(tensor) for name, tensor in tensors_of(path)}


def is_right(tensor, name, held, rank, world):
    """Whether the digest is that of the rank's slice of a tensor, or of all of it."""
    right = {digest(tensor)}
    dim = cut_dim(name)
    if dim is not None:
        begin, end = part_of(tensor.shape[dim], rank, world)
        right.add(digest(tensor[begin:end] if dim == 0 else tensor[:, begin:end]))
    return held in right


def merged_experts(experts, rank, world):
    """The rank's slices of a layer's experts as models hold them today, stacked: {name: (digest, tensors in it)}.
    Of gate and up the rows are cut, each for itself, of down the columns."""

    def slices(kind, dim):
        for number in sorted(experts[kind]):
            tensor = experts[kind][number]
            begin, end = part_of(tensor.shape[dim], rank, world)
            yield tensor[begin:end] if dim == 0 else tensor[:, begin:end]

    gate_up = np.stack([np.concatenate(pair) for pair in zip(slices("gate", 0), slices("up", 0))])
    down = np.stack(list(slices("down", 1)))
    count = len(down)
    return {"gate_up_proj": (digest(gate_up), 2 * count), "down_proj": (digest(down), count)}


def wrong_experts(prefix, experts, digests):
    """Wrong tensors among the experts of a layer, by rank held one by one or stacked."""
    wrong = 0
    for rank, held in enumerate(digests):
        if f"{prefix}.gate_up_proj" in held:
            for name, (right, count) in merged_experts(experts, rank, len(digests)).items():
                wrong += 0 if held.get(f"{prefix}.{name}") == right else count
            continue
        for kind, tensors in experts.items():
            for number, tensor in tensors.items():
                name = f"{prefix}.{number}.{kind}_proj.weight"
                wrong += not is_right(tensor, name, held.get(name), rank, len(digests))
    return wrong


def wrong_tensors(folder, digests):
    """How many tensors of the ranks are neither their slice nor whole; those that no rank's file knows count, too."""
    experts = {}  # by module, kind and number
    wrong = 0
    for path in files_of(folder):
        for name, tensor in tensors_of(path):
            expert = EXPERT.fullmatch(name)
            if expert:
                prefix, number, kind = expert.groups()
                experts.setdefault(prefix, {}).setdefault(kind, {})[int(number)] = tensor
                continue
            for rank, held in enumerate(digests):
                wrong += not is_right(tensor, name, held.get(name), rank, len(digests))
    return wrong + sum(wrong_experts(prefix, kinds, digests) for prefix, kinds in experts.items())
