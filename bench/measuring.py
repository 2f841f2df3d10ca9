"""Runs under mpirun whose times mean something: on a page cache that is what it is said to be, on memory that the
machine really has."""
import json
import os
import platform
import subprocess
import sys
import time

MISSING = 77  # status of a program that lacks a package


def sh(command, **kwargs):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout


class Missing(Exception):
    """Why a contender cannot run here."""


class Job:
    """How programs are run under mpirun. Memory that a virtual machine's host has taken back is an order slower to
    touch, and the host takes back what is free for a second: so while a contender starts up, another program holds as
    much memory as the ranks will need, and lets go of it shortly before they ask for it. Not on other hosts: they are
    taken for machines of their own.

    np      number of ranks
    hold    command of the program that holds memory; None: nobody does
    mpirun  words that start ranks on other hosts, such as ["mpirun", "--hostfile", "hosts"]; None: they run here"""

    START_UP_SECONDS = 0.3  # of mpirun and MPI_Init, before anybody allocates

    def __init__(self, np, hold, mpirun=None):
        self.np = np
        self.is_here = mpirun is None
        self.mpirun = mpirun or ["mpirun", *(["--oversubscribe"] if np > os.cpu_count() else [])]
        self.hold = hold if self.is_here else None
        self.env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def run(self, command):
        if self.hold:
            holder = subprocess.Popen(self.hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            holder.stdout.readline()
        job = subprocess.Popen(
            [*self.mpirun, "-n", str(self.np), *command],
            env=self.env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if self.hold:
            time.sleep(self.START_UP_SECONDS)
            holder.communicate()
        output, errors = job.communicate()
        if job.returncode == MISSING:
            raise Missing(errors.strip().splitlines()[0])
        if job.returncode:
            raise Missing(f"status {job.returncode}: {last_words(errors)}")
        return output

    def set_cache(self, state, files):
        """As set_cache() does, on every host that ranks run on."""
        if self.is_here:
            return set_cache(state, files)
        one_a_host = [*self.mpirun, "--map-by", "ppr:1:node", sys.executable, os.path.abspath(__file__)]
        result = subprocess.run([*one_a_host, state, *files], env=self.env, stdin=subprocess.DEVNULL,
                                capture_output=True, text=True)  # fmt: skip
        if result.returncode != 0:
            sys.exit(last_words(result.stderr))


def last_words(errors):
    """The line of a failed job's output that says most."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or line.startswith(("shardwise:", "page cache of"))]
    return (telling or lines or ["nothing said"])[-1]


def cached_fraction(files):
    pages = size = 0
    for line in sh(["fincore", "--raw", "--noheadings", "--bytes", "--output", "RES,SIZE", *files]).splitlines():
        resident, total = map(int, line.split())
        pages += resident
        size += total
    return pages / size


def set_cache(state, files):
    """Empties the page cache, or fills it with the files; ends the program if it is not so afterwards."""
    if state == "cold":
        for _ in range(10):  # pages of a process that is just ending stay
            os.sync()
            with open("/proc/sys/vm/drop_caches", "w") as switch:
                switch.write("3")
            if cached_fraction(files) <= 0.01:
                break
            time.sleep(0.2)
    elif cached_fraction(files) < 0.999:
        for path in files:
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass
    fraction = cached_fraction(files)
    if fraction > 0.01 if state == "cold" else fraction < 0.99:
        sys.exit(f"page cache of {platform.node()}: {fraction:.0%} of the files are in it, wanted {state}")


def read_json(path):
    with open(path) as file:
        return json.load(file)


if __name__ == "__main__":
    set_cache(sys.argv[1], sys.argv[2:])
