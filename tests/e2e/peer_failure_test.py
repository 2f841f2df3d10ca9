"""Ranks that die or stop in the middle of a load: the others end by themselves and say which one it was."""

import signal
import time

import pytest

from processes import FOLDER, NOTE_STATUS, SLOW, is_program, processes_of, signal_all, statuses_of, stop_in_the_middle
from refusal import DEADLINE_SECONDS, PEER, assert_nothing_under_a_final_name, error_lines

RANKS = 3
VICTIM = 1
SURVIVORS = [0, 2]
ATTEMPTS = 5


@pytest.fixture
def stopped_job(shardwise, large, tmp_path):
    """A job whose rank 1 hangs in the middle of its load."""
    jobs = []

    def start(*options, wrapper=NOTE_STATUS):
        for _ in range(ATTEMPTS):
            job = shardwise.start(
                "load",
                large,
                f"--out={tmp_path / 'out'}",
                *SLOW,
                *options,
                ranks=RANKS,
                wrapper=wrapper,
                env={FOLDER: str(tmp_path)},
            )
            jobs.append(job)
            pids = stop_in_the_middle(job, tmp_path, RANKS, VICTIM)
            if pids is not None:
                return job, pids
            job.communicate(timeout=DEADLINE_SECONDS)
        pytest.fail(f"rank {VICTIM} could not be met while it read, in {ATTEMPTS} attempts")

    yield start
    for job in jobs:
        signal_all(processes_of(tmp_path).values(), signal.SIGKILL)
        if job.poll() is None:
            job.kill()
        job.communicate()


def test_survivors_of_a_killed_rank_name_it_and_end_with_status_6(stopped_job, tmp_path):
    job, pids = stopped_job()
    signal_all([pids[VICTIM]], signal.SIGKILL)
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert job.returncode != 0
    assert statuses_of(tmp_path, SURVIVORS) == [PEER, PEER], errors
    lines = error_lines(errors)
    assert len(lines) == 1 and f"rank {VICTIM} died" in lines[0], errors
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_rank_that_hangs_ends_the_others_at_their_deadline(stopped_job, tmp_path):
    job, pids = stopped_job("--deadline=1")
    statuses = statuses_of(tmp_path, SURVIVORS)
    signal_all([pids[VICTIM]], signal.SIGKILL)
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert statuses == [PEER, PEER], errors
    lines = error_lines(errors)
    assert len(lines) == 1 and f"waited 1 s for rank {VICTIM}, which does not answer" in lines[0], errors
    assert_nothing_under_a_final_name(tmp_path / "out")


def assert_all_left_on_request(job, folder):
    _, errors = job.communicate(timeout=DEADLINE_SECONDS)
    assert statuses_of(folder, range(RANKS)) == [PEER] * RANKS, errors
    lines = error_lines(errors)
    assert len(lines) == 1 and "ended the job" in lines[0], errors
    assert_nothing_under_a_final_name(folder / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ranks_that_are_asked_to_end_do_so_before_the_next_step(stopped_job, tmp_path, number):
    """As the batch system asks when a job is cancelled or its time is up."""
    job, pids = stopped_job()
    signal_all(pids.values(), number)
    signal_all([pids[VICTIM]], signal.SIGCONT)
    assert_all_left_on_request(job, tmp_path)


@pytest.mark.parametrize("asked", range(RANKS))
def test_the_request_to_one_rank_ends_all(stopped_job, tmp_path, asked):
    job, pids = stopped_job()
    signal_all([pids[asked]], signal.SIGTERM)
    signal_all([pids[VICTIM]], signal.SIGCONT)
    assert_all_left_on_request(job, tmp_path)


def test_a_rank_that_comes_to_it_when_the_others_have_left_says_nothing_more(stopped_job, tmp_path):
    job, pids = stopped_job()
    signal_all(pids.values(), signal.SIGTERM)
    time.sleep(0.6)  # the others have said it and are about to go
    signal_all([pids[VICTIM]], signal.SIGCONT)
    assert_all_left_on_request(job, tmp_path)


def test_a_cancelled_job_leaves_nothing_half_written(stopped_job, tmp_path):
    job, pids = stopped_job(wrapper=())
    job.send_signal(signal.SIGTERM)
    # The launcher wakes stopped ranks at once and asks all to end a second later. Without one that hangs they would be
    # done by then.
    while job.poll() is None:
        signal_all([pids[VICTIM]], signal.SIGSTOP)
        time.sleep(0.001)
    job.communicate(timeout=DEADLINE_SECONDS)
    assert job.returncode != 0
    assert not [rank for rank, pid in pids.items() if is_program(pid)], "ranks outlive their job"
    assert_nothing_under_a_final_name(tmp_path / "out")
