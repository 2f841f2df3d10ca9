"""HDF5 rank files as h5py sees them, elements as raw bits."""

import pathlib
from typing import NamedTuple

import h5py
import numpy as np

from checkpoints import ELEMENT


class Stored(NamedTuple):
    dtype: str  # the attribute of that name
    raw: np.ndarray  # bit patterns
    attributes: dict
    offset: int  # of the data in the file; None where nothing is stored


def raw_elements(dataset, dtype):
    """Memory type = file type, so HDF5 converts nothing."""
    element = np.dtype(ELEMENT[dtype])
    raw = np.empty(dataset.shape, element)
    if raw.size:
        assert dataset.id.get_type().get_size() == element.itemsize
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=dataset.id.get_type())
    return raw


def read_rank_file(folder, rank):
    """{name: Stored} of one rank."""
    with h5py.File(pathlib.Path(folder) / f"model-rank-{rank}-part-0.h5", "r") as file:
        return {
            name: Stored(
                text(dataset.attrs["dtype"]),
                raw_elements(dataset, text(dataset.attrs["dtype"])),
                dict(dataset.attrs),
                dataset.id.get_offset(),
            )
            for name, dataset in file.items()
        }


def text(attribute):
    return attribute.decode() if isinstance(attribute, bytes) else str(attribute)
