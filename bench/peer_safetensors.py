"""What a user would write today: every rank cuts its slices out of every file with safetensors' get_slice, under
mpi4py.

peer_safetensors.py CKPT: Llama-shaped checkpoints; the embedding is cut, too, so that it does the same work as a
load of plan tp. Prints one JSON object: seconds of the slowest rank from a barrier to its last slice, bytes held, peak
memory."""
import glob
import json
import os
import resource
import sys
import time

import ml_dtypes  # noqa: F401  (lets numpy name bfloat16)
from mpi4py import MPI
from safetensors import safe_open

ROWS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
COLUMNS = ("o_proj", "down_proj")


def load(folder, rank, world):
    held = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, "np") as file:
            for name in file.keys():
                dim = 0 if any(part in name for part in ROWS) else 1 if any(part in name for part in COLUMNS) else None
                if dim is None:
                    held[name] = file.get_tensor(name)
                    continue
                tensor = file.get_slice(name)
                size = tensor.get_shape()[dim]
                piece = -(-size // world)
                begin, end = min(rank * piece, size), min((rank + 1) * piece, size)
                held[name] = tensor[begin:end] if dim == 0 else tensor[:, begin:end]
    return held


def main():
    comm = MPI.COMM_WORLD
    comm.Barrier()
    began = time.monotonic()
    held = load(sys.argv[1], comm.rank, comm.size)
    seconds = comm.allreduce(time.monotonic() - began, MPI.MAX)
    peak = comm.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, MPI.MAX)
    if comm.rank == 0:
        held_bytes = sum(t.nbytes for t in held.values())
        print(json.dumps({"seconds": seconds, "held_bytes": held_bytes, "peak_rss_bytes": peak}))


main()
