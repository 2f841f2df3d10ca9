"""What one would write today in place of shardwise: each loader leaves every rank with its slice of every tensor.

    mpirun -n 2 python peers.py LOADER CKPT [--digest]

The cut is that of the usual plans: q, k, v, gate, up, embedding and head along their rows, o and down along their
columns, everything else whole. Prints one JSON object: seconds of the slowest rank from a barrier to its last slice,
and peak memory; with --digest, untimed, digests of the tensors that each rank holds instead. Exits with status 77
where a package is missing.
"""
import hashlib
import json
import os
import platform
import resource
import sys
import time

from usual_cut import cut_dim, files_of, part_of

MISSING = 77


def sliced(tensor, shape, name, rank, world):
    """The rank's part of anything that is indexed like an array."""
    dim = cut_dim(name)
    if dim is None:
        return tensor[:] if len(shape) else tensor
    begin, end = part_of(shape[dim], rank, world)
    return tensor[begin:end] if dim == 0 else tensor[:, begin:end]


def use_gloo(rank, world):
    """torch.distributed over the ranks of the MPI job."""
    import torch.distributed as dist
    from mpi4py import MPI

    hosts = MPI.COMM_WORLD.allgather(platform.node())
    first = "127.0.0.1" if len(set(hosts)) == 1 else hosts[0]
    own = hosts[:rank].count(hosts[rank])
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(own), MASTER_ADDR=first)
    os.environ.setdefault("MASTER_PORT", "29731")
    dist.init_process_group("gloo")
    return dist.group.WORLD


class GetSlice:
    """safetensors' own way to read a part."""

    def __init__(self, rank, world):
        import ml_dtypes  # noqa: F401  (lets numpy name bfloat16)
        import safetensors

        self.open, self.rank, self.world = safetensors.safe_open, rank, world

    def load(self, folder):
        held = {}
        for path in files_of(folder):
            with self.open(path, "np") as file:
                for name in file.keys():
                    part = file.get_slice(name)
                    held[name] = sliced(part, part.get_shape(), name, self.rank, self.world)
        return held


class RunaiStreamer:
    """Streams whole files into memory of its own; the slice is copied out."""

    def __init__(self, rank, world):
        from runai_model_streamer import SafetensorsStreamer

        self.streamer, self.rank, self.world = SafetensorsStreamer, rank, world

    def load(self, folder):
        held = {}
        with self.streamer() as streamer:
            streamer.stream_files(files_of(folder))
            for name, tensor in streamer.get_tensors():
                held[name] = sliced(tensor, tensor.shape, name, self.rank, self.world).contiguous().clone()
        return held


class FastSafetensors:
    """Files dealt out over the ranks, tensors scattered by torch.distributed; without GPUDirect Storage."""

    def __init__(self, rank, world):
        import torch
        from fastsafetensors import SafeTensorsFileLoader

        self.loader, self.device, self.world = SafeTensorsFileLoader, torch.device("cpu"), world
        self.group = use_gloo(rank, world)

    def load(self, folder):
        files = files_of(folder)
        loader = self.loader(self.group, self.device, nogds=True)
        loader.add_filenames({rank: files[rank :: self.world] for rank in range(self.world)})
        buffers = loader.copy_files_to_device()
        held = {}
        for name in sorted(loader.get_keys()):
            dim = cut_dim(name)
            held[name] = (buffers.get_tensor(name) if dim is None else buffers.get_sharded(name, dim)).clone()
        buffers.close()
        loader.close()
        return held


class Transformers:
    """from_pretrained with tp_plan="auto"."""

    def __init__(self, rank, world):
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.model = transformers.AutoModelForCausalLM
        use_gloo(rank, world)

    def load(self, folder):
        model = self.model.from_pretrained(folder, tp_plan="auto", dtype="auto")
        return {name: getattr(value, "_local_tensor", value) for name, value in model.state_dict().items()}


class TorchCheckpoint:
    """torch.distributed.checkpoint with the reader of Hugging Face checkpoints, into DTensors."""

    def __init__(self, rank, world):
        import torch
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint import HuggingFaceStorageReader
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Replicate, Shard, empty

        use_gloo(rank, world)
        self.torch, self.dcp, self.reader, self.empty = torch, dcp, HuggingFaceStorageReader, empty
        self.mesh, self.shard, self.replicate = init_device_mesh("cpu", (world,)), Shard, Replicate

    def load(self, folder):
        from safetensors import safe_open

        held = {}
        for path in files_of(folder):
            with safe_open(path, "pt") as file:
                for name in file.keys():
                    dim = cut_dim(name)
                    placement = [self.replicate() if dim is None else self.shard(dim)]
                    held[name] = self.empty(
                        file.get_slice(name).get_shape(), dtype=self.torch.bfloat16, device_mesh=self.mesh,
                        placements=placement,
                    )  # fmt: skip
        self.dcp.load(held, storage_reader=self.reader(folder))
        return {name: tensor.to_local() for name, tensor in held.items()}


LOADERS = {
    "safetensors": GetSlice,
    "runai": RunaiStreamer,
    "fastsafetensors": FastSafetensors,
    "transformers": Transformers,
    "torch-dcp": TorchCheckpoint,
}


def digest(tensor):
    """Of a tensor's bytes, whatever library holds it."""
    if hasattr(tensor, "detach"):
        import torch

        tensor = tensor.detach().contiguous().flatten().view(torch.uint8).numpy()
    return hashlib.blake2b(tensor.tobytes(), digest_size=16).hexdigest()


def main():
    loader, folder = sys.argv[1:3]
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    try:
        peer = LOADERS[loader](comm.rank, comm.size)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING)
    comm.Barrier()
    began = time.monotonic()
    held = peer.load(folder)
    seconds = comm.allreduce(time.monotonic() - began, MPI.MAX)
    peak = comm.allreduce(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, MPI.MAX)
    result = {"seconds": seconds, "peak_rss_bytes": peak}
    if "--digest" in sys.argv:
        result = {"digests": comm.gather({name: digest(tensor) for name, tensor in held.items()})}
    if comm.rank == 0:
        print(json.dumps(result), flush=True)
    MPI.Finalize()
    os._exit(0)  # some of them keep threads


main()
