"""How a refused command must end: its status, one line that says what, where and why, and nothing half-written."""

USAGE, INPUT, IO, MEMORY, PEER, UNAVAILABLE = 2, 3, 4, 5, 6, 7
DEADLINE_SECONDS = 10
# The launcher waits a second or two before it reports a failed job; the ranks themselves have ended long before.
HASTY_LAUNCHER = {"OMPI_MCA_odls_base_sigkill_timeout": "0"}


def load(shardwise, folder, *arguments, wrapper=()):
    """A load by two ranks that is expected to end soon."""
    return shardwise.run(
        "load", folder, *arguments, ranks=2, wrapper=wrapper, env=HASTY_LAUNCHER, timeout=DEADLINE_SECONDS
    )


def error_lines(text):
    """The program's own; the launcher adds words of its own after them."""
    return [
        line
        for line in text.splitlines()
        if line.startswith("shardwise: ") and not line.startswith("shardwise: warning: ")
    ]


def assert_refused(result, status, words):
    assert result.returncode == status, f"status {result.returncode}, expected {status}\n{result.stderr}"
    lines = error_lines(result.stderr)
    assert len(lines) == 1, f"expected one line, got {lines}\n{result.stderr}"
    missing = [word for word in words if word not in lines[0]]
    assert not missing, f"'{lines[0]}' does not say {missing}"


def assert_nothing_under_a_final_name(folder):
    left = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    assert not left, f"{folder} holds {left}"
