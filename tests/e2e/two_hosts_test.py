"""Two hosts on one machine: network and host name are each host's own, so ranks share memory only inside a host,
messages go by TCP. With a file server, what they read crosses a network, too."""

import json
import signal

import pytest

from checkpoints import differences, read_folder, read_rank
from conftest import MPIRUN, SOURCE, make_checkpoint
from hosts import RANKS, finish, run, started, virtual_hosts
from processes import FOLDER, SLOW, has_open, is_program, signal_all, stop_in_the_middle, wait_for
from reference import expected_rank
from refusal import DEADLINE_SECONDS, INPUT, IO, USAGE, assert_nothing_under_a_final_name, error_lines

ATTEMPTS = 5


@pytest.fixture(scope="module")
def hosts():
    with virtual_hosts() as hosts:
        yield hosts


@pytest.fixture(scope="module")
def cluster(hosts):
    """start(command, variables) -> the job, two ranks a host."""
    return lambda *arguments: started(hosts, *arguments)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint(
        tmp_path_factory.mktemp("model") / "mixtral", arch="mixtral", experts=6, hidden=100, intermediate=52, vocab=501
    )


def test_the_cluster_has_two_hosts(cluster):
    result = finish(cluster(["hostname"]))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == RANKS and len(set(result.stdout.split())) == 2


def test_options_in_the_environment_count_on_all_hosts(shardwise, hosts, model, tmp_path):
    """No launcher carries them: here, as with ssh, nothing of the environment comes along."""
    script = [SOURCE / "launch/ranks", "--hosts", hosts.places(RANKS // 2), *shardwise.command("load", model)]
    options = {
        "SHARDWISE_OUT": str(tmp_path / "out"),
        "SHARDWISE_TRACE": str(tmp_path / "trace.json"),
        "SHARDWISE_STRATEGY": "cooperative",
    }
    result = run(hosts.on_first(*script), options)
    assert result.returncode == 0, result.stderr
    config = json.loads((model / "config.json").read_text())
    for rank in range(RANKS):
        expected = expected_rank(config, read_folder(model), rank, RANKS)
        assert not differences(read_rank(tmp_path / "out", rank), expected)
    assert (tmp_path / "trace.json").exists()


def test_a_host_may_have_more_ranks_than_another(shardwise, hosts, large, tmp_path):
    """All of them calibrate to the end."""
    places = ",".join(f"{host.address}:{ranks}" for host, ranks in zip(hosts.hosts, (6, 2)))
    calibrate = shardwise.command("calibrate", large, f"--out={tmp_path / 'profile.json'}")
    result = run(hosts.on_first(MPIRUN, "--host", places, *calibrate))
    assert result.returncode == 0, result.stderr
    profile = json.loads((tmp_path / "profile.json").read_text())
    assert all(value > 0 for name, value in profile.items() if name.endswith("_per_second")), profile


def test_ranks_that_are_started_differently_are_refused(shardwise, tiny):
    ranks = [["-n", "2", *shardwise.command("load", tiny, *options)] for options in ([], ["--verify"])]
    result = run([MPIRUN, *ranks[0], ":", *ranks[1]], timeout=DEADLINE_SECONDS)
    assert result.returncode == USAGE, result.stderr
    (line,) = error_lines(result.stderr)
    assert line.startswith("shardwise: rank 2: this rank was started as 'shardwise load") and "--verify" in line, line


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--strategy=cooperative"],
        ["--strategy=cooperative", "--staging=1MiB", "--dp=2"],
        ["--strategy=direct", "--dp=2"],
    ],
    ids=lambda options: " ".join(options) or "auto",
)
def test_two_hosts_hold_what_one_does(shardwise, cluster, model, tmp_path, options):
    result = finish(cluster(shardwise.command("load", model, f"--out={tmp_path / 'two'}", "--verify", *options)))
    assert result.returncode == 0, result.stderr
    shardwise.check("load", model, f"--out={tmp_path / 'one'}", *options, ranks=RANKS)
    config = json.loads((model / "config.json").read_text())
    tp = RANKS // 2 if "--dp=2" in options else RANKS
    for rank in range(RANKS):
        held = read_rank(tmp_path / "two", rank)
        assert not differences(held, expected_rank(config, read_folder(model), rank % tp, tp))
        assert not differences(held, read_rank(tmp_path / "one", rank))
    manifests = [json.loads((tmp_path / name / "shardwise.json").read_text()) for name in ("one", "two")]
    assert manifests[0]["plan_digest"] == manifests[1]["plan_digest"]


def test_an_error_on_one_host_ends_both(shardwise, cluster, tiny, tmp_path):
    result = finish(
        cluster(shardwise.command("load", tiny, "--plan=none", f"--out={tmp_path / 'out'}")), DEADLINE_SECONDS
    )
    assert result.returncode == INPUT
    assert len(error_lines(result.stderr)) == 1 and "none" in error_lines(result.stderr)[0], result.stderr


@pytest.mark.parametrize("victim", [1, 3], ids=["beside the launcher", "on the other host"])
def test_a_killed_rank_ends_both_hosts(shardwise, cluster, large, tmp_path, victim):
    """Neighbours see it die, the others are told by the launcher."""
    for _ in range(ATTEMPTS):
        command = shardwise.command("load", large, f"--out={tmp_path / 'out'}", *SLOW)
        job = cluster(command, {FOLDER: str(tmp_path)})
        pids = stop_in_the_middle(job, tmp_path, RANKS, victim)
        if pids is not None:
            break
        finish(job)
    assert pids is not None, f"rank {victim} could not be met while it read, in {ATTEMPTS} attempts"
    signal_all([pids[victim]], signal.SIGKILL)
    result = finish(job)
    assert result.returncode != 0
    assert not [rank for rank, pid in pids.items() if is_program(pid)], "ranks outlive their job"
    assert any(f"rank {victim} died" in line for line in error_lines(result.stderr)), result.stderr
    assert_nothing_under_a_final_name(tmp_path / "out")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(model, hosts that see it through a file server)"""
    folder = make_checkpoint(tmp_path_factory.mktemp("served") / "llama", arch="llama", hidden=500, intermediate=1300)
    with virtual_hosts(folder, 100e6) as hosts:
        yield folder, hosts


@pytest.mark.parametrize("strategy", ["auto", "direct", "cooperative"])
def test_files_of_a_server_are_read_right_and_told_from_those_of_drives(shardwise, served, tmp_path, strategy):
    folder, hosts = served
    out, stats = tmp_path / "out", tmp_path / "stats.json"
    options = [f"--out={out}", f"--stats={stats}", f"--strategy={strategy}", "--verify"]
    result = finish(started(hosts, shardwise.command("load", folder, *options)))
    assert result.returncode == 0, result.stderr
    config = json.loads((folder / "config.json").read_text())
    for rank in range(RANKS):
        assert not differences(read_rank(out, rank), expected_rank(config, read_folder(folder), rank, RANKS))
    report = json.loads(stats.read_text())
    assert "fuse.sshfs" in report["files_at_once"]["reason"], report["files_at_once"]


def test_a_file_server_that_goes_away_ends_all_ranks(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "llama", arch="llama", hidden=1000, intermediate=2400)
    with virtual_hosts(folder, 4e6) as hosts:
        command = shardwise.command("load", folder, f"--out={tmp_path / 'out'}", "--progress=never")
        job = started(hosts, command, {FOLDER: str(tmp_path)})
        files = folder / "model-"
        pids = wait_for(job, tmp_path, RANKS, lambda pids: all(has_open(pid, files) for pid in pids.values()))
        assert pids is not None, job.communicate()
        hosts.end_server()
        result = finish(job)
    assert result.returncode == IO, result.stderr
    assert not [rank for rank, pid in pids.items() if is_program(pid)], "ranks outlive their job"
    assert len(error_lines(result.stderr)) == 1 and str(folder) in error_lines(result.stderr)[0], result.stderr
    assert_nothing_under_a_final_name(tmp_path / "out")
