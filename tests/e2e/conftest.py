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


class Shardwise:
    """The command under test. Every call has a deadline: a hanging job is a failure, not a wait."""

    DEADLINE_SECONDS = 60

    def command(self, *arguments, ranks=None):
        program = [str(BIN / "shardwise"), *map(str, arguments)]
        return program if ranks is None else [MPIRUN, "-n", str(ranks), *program]

    def run(self, *arguments, ranks=None, env=None, timeout=DEADLINE_SECONDS):
        """Runs to the end, whatever the status; ranks=None runs without mpirun."""
        environment = {**os.environ, **MPI_ENVIRONMENT, **(env or {})}
        return subprocess.run(self.command(*arguments, ranks=ranks), env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)

    def check(self, *arguments, ranks=None, env=None, timeout=DEADLINE_SECONDS):
        """Runs and fails the test unless the status is 0."""
        result = self.run(*arguments, ranks=ranks, env=env, timeout=timeout)
        called = " ".join(map(str, arguments))
        assert result.returncode == 0, f"{called}: status {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result


@pytest.fixture(scope="session")
def shardwise():
    return Shardwise()


@pytest.fixture(scope="session")
def golden():
    """The folder of models made with transformers; beside the checkout in CI, absent elsewhere."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder
