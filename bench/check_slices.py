"""Which tensors are wrong: digests of what ranks hold against slices that numpy cuts out of the files."""
import functools
import hashlib
import json
import math

import numpy as np
from usual_cut import cut_dim, files_of, part_of


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


def wrong_tensors(folder, digests):
    """How many tensors of the ranks are neither their slice nor whole; those that no rank's file knows count, too."""
    world = len(digests)
    wrong = 0
    for path in files_of(folder):
        for name, tensor in tensors_of(path):
            dim = cut_dim(name)
            whole = digest(tensor)
            for rank, held in enumerate(digests):
                right = {whole}
                if dim is not None:
                    begin, end = part_of(tensor.shape[dim], rank, world)
                    right.add(digest(tensor[begin:end] if dim == 0 else tensor[:, begin:end]))
                wrong += held.get(name) not in right
    return wrong
