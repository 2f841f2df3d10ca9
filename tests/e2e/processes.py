"""Meets the ranks of a running job: finds their processes, stops one while it reads, keeps their exit statuses."""

import contextlib
import os
import pathlib
import signal
import time

from refusal import DEADLINE_SECONDS

# Names the folder for the statuses in the ranks' environment; it tells the ranks of one job from all others, too.
FOLDER = "STATUS_FOLDER"
# Keeps each rank's status: the launcher tells but one. The launcher's SIGTERM is for the program, not for this.
NOTE_STATUS = ["sh", "-c", f'trap "" TERM; "$@"; echo $? > "${FOLDER}/$OMPI_COMM_WORLD_RANK"', "sh"]
# Slow enough to be met in the middle: one thread, small waves, a second pass to verify.
SLOW = ["--strategy=cooperative", "--staging=1MiB", "--lanes=1", "--io=pread", "--verify", "--progress=never"]


def is_program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("/shardwise")
    except OSError:
        return False


def environment_of(pid):
    try:
        entries = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode(errors="replace").split("=", 1) for entry in entries if b"=" in entry)


def processes_of(folder):
    """{rank: pid} of the job that keeps its statuses there."""
    found = {}
    for pid in filter(is_program, filter(str.isdigit, os.listdir("/proc"))):
        variables = environment_of(pid)
        if variables.get(FOLDER) == str(folder) and "OMPI_COMM_WORLD_RANK" in variables:
            found[int(variables["OMPI_COMM_WORLD_RANK"])] = int(pid)
    return found


def has_read_tensors(pid):
    """True once it has read megabytes, more than programs, libraries and headers have."""
    try:
        counters = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    except OSError:
        return False
    return int(counters["rchar"]) > 8 << 20


def has_open(pid, folder):
    """True once a file of the folder is open or mapped."""
    try:
        files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        return any(str(folder) in text for text in (*files, pathlib.Path(f"/proc/{pid}/maps").read_text()))
    except OSError:
        return False


def wait_for(job, folder, ranks, is_there):
    """{rank: pid} once all run and is_there(pids); None if the job was too quick."""
    pids = {}
    until = time.monotonic() + DEADLINE_SECONDS
    while job.poll() is None and time.monotonic() < until:
        pids = pids if len(pids) == ranks else processes_of(folder)
        if len(pids) == ranks and is_there(pids):
            return pids
    return None


def stop_in_the_middle(job, folder, ranks, victim):
    """Stops the victim's process while it reads and gives all pids; None if the job was too quick."""
    pids = wait_for(job, folder, ranks, lambda pids: has_read_tensors(pids[victim]))
    if pids is None:
        return None
    signal_all([pids[victim]], signal.SIGSTOP)
    time.sleep(0.05)  # for the others to run into it
    return pids if all(map(is_program, pids.values())) else None


def signal_all(pids, number):
    """A process may have ended meanwhile."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def statuses_of(folder, ranks):
    """Exit statuses of these ranks, once they have ended; None for one that did not in time."""
    notes = [folder / str(rank) for rank in ranks]
    until = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < until and not all(note.exists() and note.read_text() for note in notes):
        time.sleep(0.02)
    return [int(note.read_text()) if note.exists() else None for note in notes]
