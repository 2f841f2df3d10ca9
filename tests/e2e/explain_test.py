"""plan --explain PARAMETER: what it names are the tensors, places and pieces that the files and the cut really have."""

import json
import re
import struct

import numpy as np
import pytest

from checkpoints import random_tensor, write_checkpoint
from reference import ceil_piece

EXPERTS, ROWS, COLUMNS = 3, 5, 4
CONFIG = {"model_type": "mixtral", "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": EXPERTS}
GATE_UP = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    random = np.random.default_rng(3)
    experts = {
        f"model.layers.0.block_sparse_moe.experts.{i}.{role}.weight": random_tensor(random, "BF16", ROWS, COLUMNS)
        for i in range(EXPERTS) for role in ("w1", "w3")
    }
    rest = {"model.layers.0.self_attn.o_proj.weight": random_tensor(random, "BF16", 6, 8),
            "model.embed_tokens.weight": random_tensor(random, "BF16", 6, 4)}
    return write_checkpoint(tmp_path_factory.mktemp("explain"), CONFIG,
                            {"model-1.safetensors": experts, "model-2.safetensors": rest})


def stored(path):
    """{tensor: (first byte, end) in the file}, by the header."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    return {name: tuple(8 + size + at for at in entry["data_offsets"]) for name, entry in header.items()}


def explained(shardwise, checkpoint, name, *options):
    return shardwise.check("plan", checkpoint, "--explain", name, "--assume=cold", *options).stdout


def boxes(text, rank):
    """Index ranges of what a rank is said to hold."""
    part = re.split(r"^rank \d+: ", text, flags=re.M)[rank + 1]
    return [[tuple(map(int, pair)) for pair in re.findall(r"\[(\d+), (\d+)\)", line.split(", in its tensor")[0])]
            for line in part.splitlines() if "in its tensor from" in line]


def test_operations_and_places_are_those_of_the_files(shardwise, checkpoint):
    text = explained(shardwise, checkpoint, GATE_UP, "--tp=2")
    assert text.startswith(f"{GATE_UP}: BF16 [{EXPERTS}, {2 * ROWS}, {COLUMNS}]\n")
    name = "model.layers.0.block_sparse_moe.experts.{}.{}.weight"
    stacks = [f"stack 0 ({', '.join(name.format(i, role) for i in range(EXPERTS))})" for role in ("w1", "w3")]
    assert f"made by  concatenate 1 ({', '.join(stacks)})\n" in text
    for tensor, (begin, end) in stored(checkpoint / "model-1.safetensors").items():
        assert f"{tensor}: BF16 [{ROWS}, {COLUMNS}], model-1.safetensors [{begin}, {end})" in text
    assert f"packed 1 [{ROWS}, {ROWS}] (plan tp of mixtral)" in text


@pytest.mark.parametrize("tp", [1, 2, 3])
def test_every_rank_holds_the_boxes_of_its_cut(shardwise, checkpoint, tp):
    text = explained(shardwise, checkpoint, GATE_UP, f"--tp={tp}")
    rows = np.arange(2 * ROWS)
    for rank in range(tp):
        expected = np.concatenate([ceil_piece(block, 0, rank, tp) for block in np.split(rows, 2)])
        found = [range(*box[1]) for box in boxes(text, rank)]
        assert [row for rows_held in found for row in rows_held] == expected.tolist()
        assert all(box[0] == (0, EXPERTS) and box[2] == (0, COLUMNS) for box in boxes(text, rank))


@pytest.mark.parametrize("strategy", ["direct", "cooperative"])
def test_readers_read_what_is_stored_of_it(shardwise, checkpoint, strategy):
    name = "model.layers.0.self_attn.o_proj.weight"
    begin, end = stored(checkpoint / "model-2.safetensors")[name]
    text = explained(shardwise, checkpoint, name, "--tp=2", f"--strategy={strategy}")
    found = re.findall(r"model-2\.safetensors \[(\d+), (\d+)\) for (?:itself|all)", text)
    reads = [tuple(map(int, pair)) for pair in found]
    if strategy == "cooperative":
        assert sorted(reads) == [(begin, end)], "once by all ranks together"
        assert len(re.findall(r"48 B of what rank 0 read, wave 0", text)) == 2
    else:
        columns = 4 * 2  # bytes: each rank needs the half of every row of 16
        assert reads == [(begin, end - columns), (begin + columns, end)]


def test_one_rank_can_be_asked_for(shardwise, checkpoint):
    text = explained(shardwise, checkpoint, GATE_UP, "--tp=2", "--rank=1")
    assert re.findall(r"^rank (\d+)", text, flags=re.M) == ["1"]


def test_a_tied_name_stands_for_its_source(shardwise, checkpoint):
    text = explained(shardwise, checkpoint, "lm_head.weight", "--tp=2")
    assert text.startswith("model.embed_tokens.weight: BF16 [6, 4]\n  is also  lm_head.weight\n")


def test_a_stage_that_has_none_of_it_says_so(shardwise, checkpoint):
    text = explained(shardwise, checkpoint, "model.layers.0.self_attn.o_proj.weight", "--pp=2", "--tp=1")
    assert "rank 0: of another stage\nrank 1: [6, 8], 96 B\n" in text, "the last stage takes the only layer"


def test_an_unknown_name_is_refused_with_the_nearest(shardwise, checkpoint):
    result = shardwise.run("plan", checkpoint, "--tp=2", "--explain", GATE_UP + "s")
    assert result.returncode == 3
    assert f"--explain {GATE_UP}s: the checkpoint gives no such parameter" in result.stderr
    assert f"; the nearest one is {GATE_UP}\n" in result.stderr
