"""The benchmarks run to their end on several hosts. They set the page cache of the whole machine, so no other test runs
beside this one."""

import json
import shlex
import sys

import pytest

from conftest import BIN, SOURCE, make_checkpoint
from hosts import RANKS, launcher, run, virtual_hosts


def bench(name, *arguments):
    """What a benchmark prints."""
    result = run([sys.executable, SOURCE / "bench" / name, "--build", BIN.parent, *arguments], timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Options of a benchmark on two hosts that see a checkpoint through a file server."""
    folder = make_checkpoint(tmp_path_factory.mktemp("served") / "llama", hidden=1000, intermediate=2400, files=2)
    with virtual_hosts(folder, 100e6) as hosts:
        mpirun = shlex.join(launcher(hosts))
        yield ["--checkpoint", folder, "--mpirun", mpirun, "--np", RANKS, "--rounds", 1, "--rest", 0]


def test_load_time_sets_the_page_caches_of_all_hosts(job, tmp_path):
    """It ends where a host's is not as wanted."""
    figures = tmp_path / "figures.json"
    bench("load_time", *job, "--no-check", "--only", "floor,shardwise", "--json", figures)
    (states,) = json.loads(figures.read_text()).values()
    seconds = {(state, name): run["seconds"] for state in states for name, (run,) in states[state].items()}
    assert set(seconds) == {(state, name) for state in ("cold", "warm") for name in ("floor", "shardwise")}
    assert all(figure > 0 for figure in seconds.values()), seconds


def test_predict_time_predicts_and_measures_every_way(job):
    table = bench("predict_time", *job, "--tp", RANKS // 2, "--states", "cold")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[2] for row in rows] == ["auto", "direct", "cooperative"]
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in rows), table
