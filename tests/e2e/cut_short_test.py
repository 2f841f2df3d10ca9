"""A file that is cut short while ranks read it is an error on all of them, a bus error in mapped pages included."""

import os
import shutil
import signal

import pytest

from processes import FOLDER, NOTE_STATUS, has_open, signal_all, statuses_of, wait_for
from refusal import DEADLINE_SECONDS, INPUT, assert_nothing_under_a_final_name, error_lines

RANKS = 2
ATTEMPTS = 5
LEFT_BYTES = 1 << 20


def start(shardwise, large, folder, *options):
    """A job that is stopped once it has opened the checkpoint; None if it was too quick."""
    shutil.copytree(large, folder / "checkpoint")
    job = shardwise.start(
        "load",
        folder / "checkpoint",
        f"--out={folder / 'out'}",
        "--staging=1MiB",
        "--lanes=1",
        *options,
        ranks=RANKS,
        wrapper=NOTE_STATUS,
        env={FOLDER: str(folder)},
    )
    pids = wait_for(job, folder, RANKS, lambda pids: all(has_open(pid, folder) for pid in pids.values()))
    if pids is not None:
        signal_all(pids.values(), signal.SIGSTOP)
    return job, pids


@pytest.mark.parametrize("io", ["mmap", "pread", "uring"])
def test_a_file_cut_short_while_it_is_read_ends_all_ranks(shardwise, large, tmp_path, io):
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        job, pids = start(shardwise, large, folder, f"--io={io}", "--strategy=cooperative")
        for path in (folder / "checkpoint").glob("model-*.safetensors"):
            os.truncate(path, LEFT_BYTES)
        signal_all((pids or {}).values(), signal.SIGCONT)
        _, errors = job.communicate(timeout=DEADLINE_SECONDS)
        if job.returncode != 0:
            break
    assert statuses_of(folder, range(RANKS)) == [INPUT] * RANKS, errors
    (line,) = error_lines(errors)
    assert str(folder / "checkpoint" / "model-") in line and ("ends" in line or "cut" in line or "truncated" in line)
    assert_nothing_under_a_final_name(folder / "out")
