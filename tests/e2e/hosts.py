"""Hosts on this machine, two ranks on each of two."""

import contextlib
import subprocess
import sys

import pytest

from conftest import MPIRUN, SOURCE, environment

sys.path.insert(0, str(SOURCE / "bench"))
from virtual_hosts import Unavailable, VirtualHosts

RANKS = 4


@contextlib.contextmanager
def virtual_hosts(*arguments):
    """Two hosts, as VirtualHosts makes them."""
    with contextlib.ExitStack() as stack:
        try:
            hosts = stack.enter_context(VirtualHosts(2, *arguments))
        except Unavailable as reason:
            pytest.skip(f"no hosts can be made here: {reason}")
        yield hosts


def launcher(hosts):
    """What starts ranks on them, two on each."""
    return hosts.mpirun(RANKS // 2, MPIRUN)


def started(hosts, command, variables=None):
    exported = [word for name in variables or {} for word in ("-x", name)]
    return subprocess.Popen(
        [*launcher(hosts), *exported, "-n", str(RANKS), *map(str, command)],
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(command, variables=None, timeout=60):
    return subprocess.run(
        list(map(str, command)),
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def finish(job, timeout=60):
    output, errors = job.communicate(timeout=timeout)
    return subprocess.CompletedProcess(job.args, job.returncode, output, errors)
