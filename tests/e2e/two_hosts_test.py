"""Two hosts on one machine: network and host name are each host's own, so ranks share memory only inside a host,
messages go by TCP."""

import json
import os
import shlex
import signal
import subprocess

import pytest

from checkpoints import differences, read_folder, read_rank
from conftest import MPIRUN, environment, make_checkpoint
from processes import FOLDER, SLOW, is_program, signal_all, stop_in_the_middle
from reference import expected_rank
from refusal import DEADLINE_SECONDS, INPUT, assert_nothing_under_a_final_name, error_lines

NETWORK = "10.211.87"
RANKS = 4
ATTEMPTS = 5


# Takes the place of ssh: HOST COMMAND...
AGENT = """#!/bin/sh
case $1 in
{cases}
esac
shift
exec ip netns exec $space unshare --uts sh -c "hostname $space && $*"
"""


class Host:
    def __init__(self, number):
        self.space = f"shardwise-{os.getpid()}-{number}"
        self.device = f"sw{os.getpid() % 100000}-{number}"
        self.address = f"{NETWORK}.{number}"

    def command(self, text):
        """Runs shell text in this host's network under its name."""
        return ["ip", "netns", "exec", self.space, "unshare", "--uts", "sh", "-c", f"hostname {self.space} && {text}"]


def set_up(hosts):
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    for host in hosts:
        ip("netns", "add", host.space)
    ip(
        "link",
        "add",
        hosts[0].device,
        "netns",
        hosts[0].space,
        "type",
        "veth",
        "peer",
        "name",
        hosts[1].device,
        "netns",
        hosts[1].space,
    )
    for host in hosts:
        ip("-n", host.space, "address", "add", f"{host.address}/24", "dev", host.device)
        for device in ("lo", host.device):
            ip("-n", host.space, "link", "set", device, "up")
    subprocess.run(hosts[0].command("true"), check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """start(command, variables) -> the job, two ranks a host."""
    hosts = [Host(1), Host(2)]
    try:
        set_up(hosts)
    except (OSError, subprocess.CalledProcessError) as error:
        tear_down(hosts)
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
    agent = tmp_path_factory.mktemp("cluster") / "agent"
    agent.write_text(AGENT.format(cases="\n".join(f"{host.address}) space={host.space} ;;" for host in hosts)))
    agent.chmod(0o755)
    launcher = [
        MPIRUN,
        "--mca",
        "plm_rsh_agent",
        agent,
        "-n",
        RANKS,
        "--host",
        ",".join(f"{host.address}:{RANKS // 2}" for host in hosts),
    ]
    for layer in ("btl", "oob"):
        launcher += ["--mca", f"{layer}_tcp_if_include", f"{NETWORK}.0/24"]

    def start(command, variables=None):
        exported = [word for name in variables or {} for word in ("-x", name)]
        return subprocess.Popen(
            hosts[0].command(shlex.join(map(str, [*launcher, *exported, *command]))),
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    tear_down(hosts)


def tear_down(hosts):
    for host in hosts:
        subprocess.run(["ip", "netns", "delete", host.space], capture_output=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint(
        tmp_path_factory.mktemp("model") / "mixtral", arch="mixtral", experts=6, hidden=100, intermediate=52, vocab=501
    )


def finish(job, timeout=60):
    output, errors = job.communicate(timeout=timeout)
    return subprocess.CompletedProcess(job.args, job.returncode, output, errors)


def test_the_cluster_has_two_hosts(cluster):
    result = finish(cluster(["hostname"]))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == RANKS and len(set(result.stdout.split())) == 2


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
