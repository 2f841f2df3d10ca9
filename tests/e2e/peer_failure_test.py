"""Ranks that die or stop in the middle of a load: the others end by themselves, name the rank, and leave nothing half-written."""
import contextlib
import os
import pathlib
import signal
import time

import pytest

from conftest import make_checkpoint
from refusal import DEADLINE_SECONDS, PEER, assert_nothing_under_a_final_name, error_lines

RANKS = 3
VICTIM = 1
ATTEMPTS = 5
# Slow enough to be met in the middle: one thread, small waves, a second pass to verify, files to write at the end.
SLOW = ["--strategy=cooperative", "--staging=1MiB", "--lanes=1", "--io=pread", "--verify", "--progress=never"]
# Keeps each rank's status: the launcher tells but one. The launcher's SIGTERM is for the program, not for this.
NOTE_STATUS = ["sh", "-c", 'trap "" TERM; "$@"; echo $? > "$STATUS_FOLDER/$OMPI_COMM_WORLD_RANK"', "sh"]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Some 190 MB."""
    return make_checkpoint(tmp_path_factory.mktemp("large") / "llama", arch="llama", hidden=1024, intermediate=4096, layers=5, heads=16, head_dim=64, vocab=8000)


def processes_of(job):
    """{rank: pid} of the program's processes below the launcher."""
    found = {}
    parents = {int(entry): parent_of(entry) for entry in os.listdir("/proc") if entry.isdigit()}
    for pid in parents:
        above = pid
        while above in parents and above != job.pid:
            above = parents[above]
        if above == job.pid and is_program(pid):
            found[rank_of(pid)] = pid
    return {rank: pid for rank, pid in found.items() if rank is not None}


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def is_program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("/shardwise")
    except OSError:
        return False


def rank_of(pid):
    try:
        variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((int(v.partition(b"=")[2]) for v in variables if v.startswith(b"OMPI_COMM_WORLD_RANK=")), None)


def reads_tensors(pid, folder):
    """True once it has read more than headers: files are open and megabytes went through."""
    try:
        opened = any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(str(folder)) for fd in os.listdir(f"/proc/{pid}/fd"))
        counters = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    except OSError:
        return False
    return opened and int(counters["rchar"]) > 8 << 20


def kill(pid):
    """The launcher may have been faster."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def stop_in_the_middle(job, folder):
    """Stops the victim's process while it reads; None if the job was too quick."""
    pids = {}
    until = time.monotonic() + DEADLINE_SECONDS
    while job.poll() is None and time.monotonic() < until:
        pids = pids if len(pids) == RANKS else processes_of(job)
        if len(pids) == RANKS and reads_tensors(pids[VICTIM], folder):
            os.kill(pids[VICTIM], signal.SIGSTOP)
            time.sleep(0.05)  # for the others to run into it
            if all(is_program(pid) for pid in pids.values()):
                return pids
    return None


@pytest.fixture
def stopped_job(shardwise, large, tmp_path):
    """A job whose rank 1 hangs in the middle of its load."""
    jobs = []

    def start(*options, wrapper=NOTE_STATUS):
        for _ in range(ATTEMPTS):
            job = shardwise.start("load", large, f"--out={tmp_path / 'out'}", *SLOW, *options, ranks=RANKS, wrapper=wrapper, env={"STATUS_FOLDER": str(tmp_path)})
            jobs.append(job)
            pids = stop_in_the_middle(job, large)
            if pids is not None:
                return job, pids
            job.communicate(timeout=DEADLINE_SECONDS)
        pytest.fail(f"rank {VICTIM} could not be met while it read, in {ATTEMPTS} attempts")

    yield start
    for job in jobs:
        for pid in processes_of(job).values():
            kill(pid)
        if job.poll() is None:
            job.kill()
        job.communicate()


def statuses_of_survivors(folder):
    """Exit statuses of all ranks but the victim, once they have ended."""
    notes = [folder / str(rank) for rank in range(RANKS) if rank != VICTIM]
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until and not all(note.exists() and note.read_text() for note in notes):
        time.sleep(0.02)
    return [int(note.read_text()) if note.exists() else None for note in notes]


def test_survivors_of_a_killed_rank_name_it_and_end_with_status_6(stopped_job, tmp_path):
    job, pids = stopped_job()
    kill(pids[VICTIM])
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert job.returncode != 0
    assert statuses_of_survivors(tmp_path) == [PEER] * (RANKS - 1), errors
    lines = error_lines(errors)
    assert len(lines) == 1 and f"rank {VICTIM} died" in lines[0], errors
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_rank_that_hangs_ends_the_others_at_their_deadline(stopped_job, tmp_path):
    job, pids = stopped_job("--deadline=1")
    statuses = statuses_of_survivors(tmp_path)
    kill(pids[VICTIM])
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert statuses == [PEER] * (RANKS - 1), errors
    assert "waited 1 s" in errors and "--deadline" in errors, errors
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_ranks_that_are_asked_to_end_do_so_before_the_next_step(stopped_job, tmp_path):
    """As the batch system asks when a job is cancelled or its time is up."""
    job, pids = stopped_job()
    for pid in pids.values():
        os.kill(pid, signal.SIGTERM)
    os.kill(pids[VICTIM], signal.SIGCONT)
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert statuses_of_survivors(tmp_path) == [PEER] * (RANKS - 1), errors
    assert (tmp_path / str(VICTIM)).read_text().strip() == str(PEER)
    lines = error_lines(errors)
    assert len(lines) == 1 and "ended the job" in lines[0], errors
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_cancelled_job_leaves_nothing_half_written(stopped_job, tmp_path):
    job, pids = stopped_job(wrapper=())
    job.send_signal(signal.SIGTERM)
    # The launcher wakes stopped ranks at once and asks them to end a second later: without a rank that hangs they were done by then.
    while job.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[VICTIM], signal.SIGSTOP)
        time.sleep(0.001)
    job.communicate(timeout=DEADLINE_SECONDS)
    assert job.returncode != 0
    assert not [rank for rank, pid in pids.items() if is_program(pid)], "ranks outlive their job"
    assert_nothing_under_a_final_name(tmp_path / "out")
