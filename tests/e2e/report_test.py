"""What inspect, plan and load say is true, by the safetensors library, numpy, file sizes and the kernel's counters."""

import json
import os
import time

import jsonschema
import pytest
from safetensors import safe_open

from checkpoints import read_folder
from conftest import make_checkpoint
from reference import expected_rank

MIB = 1 << 20
RANKS = 4
PHASES = ["open", "plan", "read", "exchange", "place", "verify", "write"]
BYTES = ["checkpoint", "needed", "read", "exchanged", "stored", "written"]
# The wrapper's counters take in those of the program it waited for.
NOTE_IO = ["sh", "-c", '"$@" && cat /proc/$$/io > "$IO_FOLDER/$OMPI_COMM_WORLD_RANK"', "sh"]


def object_of(properties):
    return {"type": "object", "required": list(properties), "properties": properties}


COUNT = {"type": "integer", "minimum": 0}
SECONDS = {"type": "number", "minimum": 0}


def spread(number):
    return object_of({"min": number, "mean": {"type": "number", "minimum": 0}, "max": number, "sum": number})


def figures(shape):
    """seconds, bytes and counts, each as shape(type)."""
    return {
        "seconds": object_of({name: shape(SECONDS) for name in ["total", *PHASES]}),
        "bytes": object_of({name: shape(COUNT) for name in BYTES}),
        **{name: shape(COUNT) for name in ("requests", "peak_rss_bytes", "staging_bytes")},
    }


STATS_SCHEMA = object_of(
    {
        "schema": {"const": "shardwise.stats/1"},
        **{name: {"type": "integer", "minimum": 1} for name in ("world", "pp", "dp", "fsdp", "tp", "ep")},
        **{name: {"type": "string", "minLength": 1} for name in ("arch", "io", "transport", "device")},
        **figures(spread),
        "ranks": {"type": "array", "items": object_of({"rank": COUNT, **figures(lambda number: number)})},
        "paths": {"type": "object", "additionalProperties": COUNT},
        "files": {
            "type": "array",
            "minItems": 1,
            "items": object_of({name: {"type": "string", "minLength": 1} for name in ("path", "reader", "reason")}),
        },
    }
)


def load(shardwise, folder, tmp_path, *options, ranks=RANKS, **more):
    """The stats document of a load."""
    shardwise.check("load", folder, f"--stats={tmp_path / 'stats.json'}", *options, ranks=ranks, **more)
    document = json.loads((tmp_path / "stats.json").read_text())
    jsonschema.validate(document, STATS_SCHEMA)
    return document


def data_bytes(folder):
    return sum(tensor.array.nbytes for tensor in read_folder(folder).values())


def expected_bytes(folder, tp, **rules):
    """Bytes that each rank must hold, by the reference."""
    config = json.loads((folder / "config.json").read_text())
    tensors = read_folder(folder)
    return [
        sum(tensor.array.nbytes for tensor in expected_rank(config, tensors, rank, tp, **rules).values())
        for rank in range(tp)
    ]


@pytest.mark.parametrize(
    "options", [["--strategy=cooperative", "--verify"], ["--dp=2", "--strategy=direct"]], ids=" ".join
)
def test_the_stats_document_is_whole_and_its_sums_are_right(shardwise, tiny, tmp_path, options):
    began = time.monotonic()
    document = load(shardwise, tiny, tmp_path, f"--out={tmp_path / 'out'}", *options)
    wall = time.monotonic() - began
    dp = 2 if "--dp=2" in options else 1
    assert (document["world"], document["tp"], document["dp"], document["arch"]) == (RANKS, RANKS // dp, dp, "llama")
    assert [rank["rank"] for rank in document["ranks"]] == list(range(RANKS))
    for group, names in (("seconds", ["total", *PHASES]), ("bytes", BYTES)):
        for name in names:
            values = [rank[group][name] for rank in document["ranks"]]
            of_all = document[group][name]
            assert (of_all["min"], of_all["max"]) == (min(values), max(values))
            assert of_all["sum"] == pytest.approx(sum(values)) and of_all["mean"] == pytest.approx(sum(values) / RANKS)
    for rank in document["ranks"]:
        assert sum(rank["seconds"][phase] for phase in PHASES) == pytest.approx(rank["seconds"]["total"], rel=0.05)
        assert rank["seconds"]["total"] <= wall
    held = expected_bytes(tiny, RANKS // dp) * dp
    assert [rank["bytes"]["needed"] for rank in document["ranks"]] == held
    assert [rank["bytes"]["stored"] for rank in document["ranks"]] == held
    assert document["bytes"]["checkpoint"]["max"] == data_bytes(tiny)
    written = [(tmp_path / "out" / f"model-rank-{rank}-part-0.safetensors").stat().st_size for rank in range(RANKS)]
    assert [rank["bytes"]["written"] for rank in document["ranks"]] == written
    assert sum(document["paths"].values()) == document["bytes"]["read"]["sum"]


@pytest.mark.parametrize(
    "options", [["--tp=4"], ["--tp=2", "--dp=2"], ["--tp=4", "--transport=mpi", "--io=uring"]], ids=" ".join
)
def test_cooperative_loads_read_each_byte_once(shardwise, large, tmp_path, options):
    document = load(shardwise, large, tmp_path, "--strategy=cooperative", *options)
    assert data_bytes(large) <= document["bytes"]["read"]["sum"] <= 1.02 * data_bytes(large)


def test_the_kernel_counts_the_bytes_that_the_report_does(shardwise, tiny, large, tmp_path):
    def count(folder):
        document = load(
            shardwise,
            folder,
            tmp_path,
            "--strategy=cooperative",
            "--io=pread",
            wrapper=NOTE_IO,
            env={"IO_FOLDER": str(tmp_path)},
        )
        noted = [
            dict(line.split(": ") for line in (tmp_path / str(rank)).read_text().splitlines()) for rank in range(RANKS)
        ]
        return document["bytes"]["read"]["sum"], sum(int(counters["rchar"]) for counters in noted)

    reported_tiny, kernel_tiny = count(tiny)  # programs and libraries read files, too: the same ones each time
    reported, kernel = count(large)
    assert kernel - kernel_tiny == pytest.approx(reported - reported_tiny, rel=0.01)


@pytest.mark.parametrize(
    "options",
    [
        ["--io=auto"],
        ["--io=uring"],
        ["--strategy=cooperative", "--transport=mpi"],
        ["--strategy=cooperative", "--io=pread"],
    ],
    ids=" ".join,
)
def test_a_rank_needs_little_more_memory_than_its_shard_and_the_staging(shardwise, large, tmp_path, options):
    document = load(shardwise, large, tmp_path, "--staging=32MiB", *options, ranks=2)
    for rank in document["ranks"]:
        assert rank["staging_bytes"] <= 32 * MIB
        assert rank["bytes"]["stored"] <= rank["peak_rss_bytes"] <= rank["bytes"]["stored"] + 32 * MIB + 64 * MIB


@pytest.mark.parametrize(
    "options",
    [
        ["--strategy=direct"],
        ["--strategy=cooperative"],
        ["--strategy=cooperative", "--dp=2"],
        ["--strategy=auto", "--staging=2MiB"],
        ["--strategy=cooperative", "--files-at-once=3"],
    ],
    ids=" ".join,
)
def test_plan_foretells_what_load_reports(shardwise, tiny, tmp_path, options):
    tp = RANKS // 2 if "--dp=2" in options else RANKS
    foretold = json.loads(shardwise.check("plan", tiny, f"--tp={tp}", "--json", *options).stdout)
    document = load(shardwise, tiny, tmp_path, "--io=pread", *options)
    for plan, rank in zip(foretold["ranks"], document["ranks"], strict=True):
        assert plan["read_bytes"] == rank["bytes"]["read"]
        assert plan["requests"] == rank["requests"]
        assert plan["needed_bytes"] == rank["bytes"]["stored"]
        assert plan["received_bytes"] == rank["bytes"]["exchanged"]
        assert plan["staging_bytes"] >= rank["staging_bytes"]
    assert foretold["digest"] == document["plan_digest"]
    assert foretold["files_at_once"] == document["files_at_once"]


def test_how_many_files_are_read_at_once_is_said_with_its_reason(shardwise, tiny):
    def said(*options):
        table = shardwise.check("plan", tiny, "--tp=2", *options).stdout
        return json.loads(shardwise.check("plan", tiny, "--tp=2", "--json", *options).stdout)["files_at_once"], table

    choice, table = said("--assume=cold")
    assert choice["files"] == 1 and choice["reason"] and "files at once" not in table
    choice, table = said("--assume=cold", "--profile=parallel-fs")
    assert choice["files"] == 16 and "16 files at once: profile parallel-fs" in table
    assert said("--assume=cold", "--files-at-once=5")[0] == {"files": 5, "reason": "asked for"}


def test_plan_simulates_any_world_without_mpi(shardwise, tiny):
    for tp in range(1, 65):
        document = json.loads(
            shardwise.check("plan", tiny, f"--tp={tp}", "--json", "--strategy=cooperative", env={"PATH": ""}).stdout
        )
        assert (document["world"], document["tp"], document["dp"]) == (tp, tp, 1)
        assert [rank["rank"] for rank in document["ranks"]] == list(range(tp))
        assert [rank["needed_bytes"] for rank in document["ranks"]] == expected_bytes(tiny, tp)
        assert data_bytes(tiny) <= sum(rank["read_bytes"] for rank in document["ranks"])


def test_plan_of_one_rank_lists_its_tensors_as_the_reference_cuts_them(shardwise, tiny):
    (rank,) = json.loads(shardwise.check("plan", tiny, "--tp=3", "--rank=1", "--json").stdout)["ranks"]
    expected = expected_rank(json.loads((tiny / "config.json").read_text()), read_folder(tiny), 1, 3)
    assert {tensor["name"]: tensor["local_shape"] for tensor in rank["tensors"]} == {
        name: list(tensor.array.shape) for name, tensor in expected.items()
    }


def test_priority_comes_first_in_the_order_given(shardwise, tiny):
    (rank,) = json.loads(
        shardwise.check(
            "plan", tiny, "--tp=2", "--rank=0", "--json", "--priority=lm_head.*", "--priority=*.layers.1.*norm*"
        ).stdout
    )["ranks"]
    names = [tensor["name"] for tensor in rank["tensors"]]
    assert names[0] == "lm_head.weight"
    assert sorted(names[1:3]) == [
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
    ]
    assert sorted(names) == sorted(read_folder(tiny))


def test_the_same_input_gives_the_same_plan(shardwise, tiny):
    runs = [shardwise.check("plan", tiny, "--tp=4", "--rank=2", "--json").stdout for _ in range(2)]
    other = shardwise.check("plan", tiny, "--tp=4", "--rank=2", "--json", "--strategy=cooperative").stdout
    assert runs[0] == runs[1]
    assert json.loads(other)["digest"] != json.loads(runs[0])["digest"]


def test_inspect_sees_what_the_safetensors_library_sees(shardwise, tiny):
    document = json.loads(shardwise.check("inspect", tiny, "--json").stdout)
    seen = {}
    for path in sorted(tiny.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            for name in file.keys():
                part = file.get_slice(name)
                seen[name] = {"dtype": part.get_dtype(), "shape": part.get_shape(), "file": path.name}
    held = {
        name: {
            "dtype": tensor["dtype"],
            "shape": tensor["shape"],
            "file": os.path.basename(document["files"][tensor["file"]]["path"]),
        }
        for name, tensor in document["tensors"].items()
    }
    assert held == seen
    assert document["tensor_bytes"] == data_bytes(tiny)
    raw = {name: tensor.array.tobytes() for name, tensor in read_folder(tiny).items()}
    for name, tensor in document["tensors"].items():
        with open(document["files"][tensor["file"]]["path"], "rb") as file:
            file.seek(tensor["begin"])
            assert file.read(tensor["bytes"]) == raw[name]


def test_results_go_to_stdout_and_everything_else_to_stderr(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "cut_heads", kv_heads=2)
    for command in (["inspect", folder, "--json"], ["plan", folder, "--tp=4", "--json"]):
        json.loads(shardwise.check(*command).stdout)
    result = shardwise.check("load", folder, ranks=RANKS)
    assert "shardwise:" not in result.stdout and "tp 4, dp 1" in result.stdout
    assert (
        "shardwise: warning: --tp 4 cuts through attention heads" in result.stderr and "tp 4, dp 1" not in result.stderr
    )
