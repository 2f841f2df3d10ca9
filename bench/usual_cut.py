"""The cut that everybody makes: that of the usual tensor-parallel plans of dense models."""
import glob
import os

ROWS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
COLUMNS = ("o_proj", "down_proj")


def cut_dim(name):
    """0 for rows, 1 for columns, None for tensors that every rank has whole."""
    return 0 if any(part in name for part in ROWS) else 1 if any(part in name for part in COLUMNS) else None


def part_of(size, rank, world):
    """The first and the end of a rank's part of so many rows or columns."""
    piece = -(-size // world)
    return min(rank * piece, size), min((rank + 1) * piece, size)


def files_of(folder):
    return sorted(glob.glob(os.path.join(folder, "*.safetensors")))
