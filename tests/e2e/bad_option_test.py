"""Wrong options on the command line, in the environment and in a file are refused before anything is read."""

import json

import pytest

from refusal import INPUT, IO, MEMORY, UNAVAILABLE, USAGE, assert_nothing_under_a_final_name, assert_refused, load

# arguments of load after the checkpoint -> status, words of the one line
ARGUMENTS = [
    (["--strategi=direct"], USAGE, ["--strategi", "did you mean --strategy?"]),
    (["--strategy=drect"], USAGE, ["--strategy drect", "did you mean direct?"]),
    (["--tp=3"], USAGE, ["--tp 3", "2"]),
    (["--tp=0"], USAGE, ["--tp", "0"]),
    (["--tp=two"], USAGE, ["tp", "two"]),
    (["--dp=3"], USAGE, ["--dp 3", "2 ranks"]),
    (["--pp=3", "--dp=1"], USAGE, ["--pp 3 does not divide the 2 ranks"]),
    (["--fsdp=2", "--tp=2"], USAGE, ["--fsdp 2 x --tp 2 make 4 ranks, the job has 2"]),
    (["--tp=1"], USAGE, ["--tp 1 make 1 ranks, the job has 2"]),
    (["--fsdp=0"], USAGE, ["--fsdp 0"]),
    (["--pp=5000000000000000000", "--dp=4"], USAGE, ["--pp 5000000000000000000", "more ranks"]),
    (["--ep=3"], USAGE, ["--ep 3 is no multiple of --tp 2"]),
    (["--ep=4"], USAGE, ["--ep 4 does not divide the 2 ranks", "--fsdp 1 x --tp 2"]),
    (["--ep=2"], INPUT, ["'ep'", "tp"]),
    (["second/path"], USAGE, ["expected 1 path", "got 2"]),
    (["--staging=12potatoes"], USAGE, ["--staging", "12potatoes"]),
    (["--staging"], USAGE, ["staging"]),
    (["--files-at-once=0"], USAGE, ["--files-at-once 0", "from 1 up"]),
    (["--files-at-once=-2"], USAGE, ["--files-at-once -2", "from 1 up"]),
    (["--files-at-once=some"], USAGE, ["--files-at-once some", "auto, or a number"]),
    (["--plan=eq"], INPUT, ["'eq'", "tp"]),
    (["--arch=lama"], INPUT, ["'lama'", "llama"]),
    (["--arch=absent/arch.json"], IO, ["absent/arch.json", "No such file"]),
    (["--config=absent.conf"], IO, ["absent.conf"]),
    (["--include=nothing.*"], INPUT, ["--include"]),
    (["--staging=64KiB"], MEMORY, ["--staging 64.0 KiB", "1.00 MiB", "least"]),
    (["--io=gds"], UNAVAILABLE, ["--io gds", "GPU"]),
    (["--transport=nccl"], UNAVAILABLE, ["--transport nccl", "GPU"]),
    (["--device=cuda"], UNAVAILABLE, ["--device cuda", "GPU"]),
    (["--format=cuda-ipc"], UNAVAILABLE, ["--format cuda-ipc", "GPU"]),
    (["--format=cuda-ipc", "--device=host"], USAGE, ["--format cuda-ipc", "--device host"]),
    (["--format=cuda-ipc", "--allocation=tensors"], USAGE, ["--format cuda-ipc", "--allocation arena"]),
]


@pytest.mark.parametrize(
    "arguments,status,words", ARGUMENTS, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_wrong_arguments_of_load_are_refused_by_all_ranks(shardwise, tiny, tmp_path, arguments, status, words):
    result = load(shardwise, tiny, f"--out={tmp_path / 'out'}", *arguments)
    assert_refused(result, status, words)
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_handles_need_a_folder_for_others_to_find_them(shardwise, tiny):
    assert_refused(load(shardwise, tiny, "--format=cuda-ipc"), USAGE, ["--format cuda-ipc needs --out"])


@pytest.mark.parametrize(
    "arguments,status,words",
    [
        ([], USAGE, ["no command"]),
        (["lod"], USAGE, ["'lod'", "did you mean load?"]),
        (["inspect"], USAGE, ["expected 1 path"]),
        (["inspect", "/no/such/checkpoint"], INPUT, ["/no/such/checkpoint"]),
        (["plan", "CHECKPOINT"], USAGE, ["--tp"]),
        (["plan", "CHECKPOINT", "--tp=2", "--rank=2"], USAGE, ["--rank 2", "0 to 1"]),
        (["plan", "CHECKPOINT", "--tp=2", "--pp=2", "--rank=4"], USAGE, ["--rank 4", "0 to 3"]),
        (["plan", "CHECKPOINT", "--tp=2", "--ep=3"], USAGE, ["--ep 3", "--tp 2"]),
        (["verify", "CHECKPOINT"], USAGE, ["expected 2 path"]),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_wrong_arguments_of_other_commands_are_refused(shardwise, tiny, arguments, status, words):
    assert_refused(shardwise.run(*[str(tiny) if word == "CHECKPOINT" else word for word in arguments]), status, words)


@pytest.mark.parametrize(
    "variable,value,words",
    [
        ("SHARDWISE_STRATEGI", "direct", ["SHARDWISE_STRATEGI", "did you mean SHARDWISE_STRATEGY?"]),
        ("SHARDWISE_STRATEGY", "drect", ["strategy", "drect"]),
        ("SHARDWISE_DP", "many", ["dp", "many"]),
    ],
)
def test_a_wrong_environment_names_its_key(shardwise, tiny, variable, value, words):
    assert_refused(shardwise.run("plan", tiny, "--tp=2", env={variable: value}), USAGE, words)


@pytest.mark.parametrize(
    "line,words",
    [
        ("strategi = direct", ["strategi", "in.conf", "strategy"]),
        ("strategy = drect", ["strategy", "drect"]),
        ("dp = many", ["dp", "many"]),
        ("no equals sign", ["no equals sign"]),
    ],
)
def test_a_wrong_configuration_file_names_its_key(shardwise, tiny, tmp_path, line, words):
    (tmp_path / "in.conf").write_text(line + "\n")
    assert_refused(shardwise.run("plan", tiny, "--tp=2", f"--config={tmp_path / 'in.conf'}"), USAGE, words)


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(shardwise, tiny, tmp_path):
    (tmp_path / "in.conf").write_text("dp = 3\nkv-heads = replicate\ntp = 4\n")
    document = json.loads(
        shardwise.check(
            "plan", tiny, "--tp=1", "--json", f"--config={tmp_path / 'in.conf'}", env={"SHARDWISE_DP": "2"}
        ).stdout
    )
    assert (document["tp"], document["dp"]) == (1, 2)


def test_options_of_other_commands_in_the_environment_are_no_error(shardwise, tiny):
    """One environment serves all commands of a script."""
    for command in (["inspect", tiny], ["plan", tiny, "--tp=2"], ["verify", tiny, tiny]):
        shardwise.check(*command, env={"SHARDWISE_IO": "pread", "SHARDWISE_STRATEGY": "direct"})
