"""Progress goes to stderr: a bar on a terminal, a line now and then in a log, nothing where none is wanted."""

import os
import pty
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import environment
from processes import SLOW, has_read_tensors

LINE_EVERY_SECONDS = 5
ATTEMPTS = 5


@pytest.mark.parametrize("mode,is_drawn", [("auto", False), ("never", False), ("always", True)])
def test_progress_on_something_that_is_no_terminal(shardwise, tiny, mode, is_drawn):
    errors = shardwise.check("load", tiny, f"--progress={mode}", ranks=2).stderr
    assert ("shardwise [" in errors) == is_drawn, errors
    assert not is_drawn or ("100 %" in errors and "on rank 1" not in errors)


def run_on_terminal(command):
    """(stdout, what a terminal got as stderr)."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo terminals here: {error}")
    shown = bytearray()

    def listen():
        try:
            while chunk := os.read(ours, 4096):
                shown.extend(chunk)
        except OSError:
            pass  # the other end is closed

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        result = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
            check=True,
        )
    finally:
        os.close(theirs)
        listener.join()
        os.close(ours)
    return result.stdout.decode(), shown.decode()


@pytest.mark.parametrize("mode,is_drawn", [("auto", True), ("never", False)])
def test_progress_on_a_terminal_is_a_bar(shardwise, tiny, mode, is_drawn):
    results, shown = run_on_terminal(shardwise.command("load", tiny, f"--progress={mode}"))
    assert ("\rshardwise [##############################] 100 %" in shown) == is_drawn, shown
    assert not is_drawn or shown.endswith("\n")
    assert "\r" not in results


def stop_for(seconds, command):
    """stderr of a command that was held up while it read; None if it was too quick."""
    job = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not has_read_tensors(job.pid):
        time.sleep(0.001)
    was_met = job.poll() is None
    if was_met:
        job.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        job.send_signal(signal.SIGCONT)
    errors = job.communicate(timeout=60)[1]
    assert job.returncode == 0, errors
    return errors if was_met else None


def test_progress_of_a_long_load_in_a_log_is_a_line_now_and_then(shardwise, large):
    command = shardwise.command("load", large, *SLOW[:-1])
    found = (stop_for(LINE_EVERY_SECONDS + 0.2, command) for _ in range(ATTEMPTS))
    errors = next(text for text in found if text is not None)
    assert re.fullmatch(r"shardwise: +\d+ % of [\d.]+ MiB on rank 0, [\d.]+ GB/s\n", errors), errors
