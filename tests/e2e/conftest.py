"""What all end-to-end tests share: where the programs are and how they are run."""

import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ.get("SHARDWISE_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BIN = pathlib.Path(os.environ.get("SHARDWISE_BIN_DIR", SOURCE / "build/dev/bin"))
SHARED = SOURCE.parent / "shared"
MPIRUN = os.environ.get("SHARDWISE_MPIRUN", "mpirun")
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


def environment(extra=None):
    """That of this process without SHARDWISE_ variables, which would be options of the program."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}
    return {**own, **MPI_ENVIRONMENT, **(extra or {})}


class Shardwise:
    """The command under test. Every call has a deadline: a hanging job is a failure, not a wait."""

    DEADLINE_SECONDS = 60

    def command(self, *arguments, ranks=None, wrapper=()):
        """The argument list; ranks=None runs without mpirun. Each rank starts as an argument of the wrapper."""
        program = [*map(str, wrapper), str(BIN / "shardwise"), *map(str, arguments)]
        return program if ranks is None else [MPIRUN, "-n", str(ranks), *program]

    def run(self, *arguments, ranks=None, wrapper=(), env=None, timeout=DEADLINE_SECONDS):
        """Runs to the end, whatever the status."""
        return subprocess.run(
            self.command(*arguments, ranks=ranks, wrapper=wrapper),
            env=environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def check(self, *arguments, ranks=None, wrapper=(), env=None, timeout=DEADLINE_SECONDS):
        """Runs and fails the test unless the status is 0."""
        result = self.run(*arguments, ranks=ranks, wrapper=wrapper, env=env, timeout=timeout)
        assert result.returncode == 0, (
            f"{' '.join(map(str, arguments))}: status {result.returncode}\n{result.stdout}\n{result.stderr}"
        )
        return result

    def start(self, *arguments, ranks, wrapper=(), env=None):
        """Starts a job and returns at once; the caller waits for it."""
        return subprocess.Popen(
            self.command(*arguments, ranks=ranks, wrapper=wrapper),
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make_checkpoint(folder, **sizes):
    """A made-up checkpoint; sizes are the generator's options: arch="mixtral", kv_heads=3."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in sizes.items() if value is not True]
    options += [f"--{name.replace('_', '-')}" for name, value in sizes.items() if value is True]
    subprocess.run(
        [str(BIN / "make_checkpoint"), str(folder), *options], env=environment(), check=True, capture_output=True
    )
    return folder


@pytest.fixture
def disk_of(tmp_path):
    """A function of a size ("1m"): a folder on a file system of its own that has no more room."""
    folder = tmp_path / "small"

    def mount(size):
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A function of {name: sizes}: a function of a name that makes the checkpoint of these sizes when first asked."""

    def of(models):
        made = {}

        def get(name):
            if name not in made:
                made[name] = make_checkpoint(tmp_path_factory.mktemp("models") / name, **models[name])
            return made[name]

        return get

    return of


@pytest.fixture(scope="session")
def shardwise():
    return Shardwise()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A Llama of two layers in four files; tests that change it copy it first."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """Some 300 MB in four files: a load of it lasts long enough to be met in the middle."""
    return make_checkpoint(
        tmp_path_factory.mktemp("large") / "llama",
        arch="llama",
        hidden=1024,
        intermediate=4096,
        layers=8,
        heads=16,
        kv_heads=4,
        head_dim=64,
        vocab=16000,
    )


@pytest.fixture(scope="session")
def golden():
    """The folder of models made with transformers; beside the checkout in CI, absent elsewhere."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder
