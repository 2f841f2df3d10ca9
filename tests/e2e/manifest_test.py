"""shardwise.json and what happens to a folder that is written again."""

import json

import pytest

from checkpoints import read_folder
from conftest import make_checkpoint

# model, options, ranks -> {parameter: placement as the manifest tells it}
PLACEMENTS = [
    (
        dict(arch="llama"),
        [],
        2,
        {
            "model.layers.0.self_attn.q_proj.weight": {
                "kind": "shard",
                "dim": 0,
                "blocks": [{"size": 64, "parts": 2, "repeat": 1}],
            },
            "model.layers.0.self_attn.o_proj.weight": {
                "kind": "shard",
                "dim": 1,
                "blocks": [{"size": 64, "parts": 2, "repeat": 1}],
            },
            "model.norm.weight": {"kind": "replicate"},
        },
    ),
    (
        dict(arch="llama"),
        ["--kv-heads=replicate"],
        4,
        {
            "model.layers.0.self_attn.k_proj.weight": {
                "kind": "shard",
                "dim": 0,
                "blocks": [{"size": 32, "parts": 2, "repeat": 2}],
            }
        },
    ),
    (
        dict(arch="mixtral"),
        [],
        2,
        {
            "model.layers.0.mlp.experts.gate_up_proj": {
                "kind": "packed",
                "dim": 1,
                "blocks": [{"size": 96, "parts": 2, "repeat": 1}] * 2,
            },
            "model.layers.0.mlp.experts.down_proj": {
                "kind": "shard",
                "dim": 2,
                "blocks": [{"size": 96, "parts": 2, "repeat": 1}],
            },
        },
    ),
    (
        dict(arch="mixtral"),
        ["--plan=ep"],
        2,
        {
            "model.layers.0.mlp.experts.down_proj": {
                "kind": "expert",
                "dim": 0,
                "blocks": [{"size": 8, "parts": 2, "repeat": 1}],
            }
        },
    ),
    (
        dict(arch="phi3"),
        ["--plan=packed"],
        2,
        {
            "model.layers.0.self_attn.qkv_proj.weight": {
                "kind": "packed",
                "dim": 0,
                "blocks": [{"size": size, "parts": 2, "repeat": 1} for size in (64, 32, 32)],
            }
        },
    ),
]


@pytest.mark.parametrize(
    "sizes,options,ranks,placements", PLACEMENTS, ids=["llama", "whole kv heads", "mixtral", "whole experts", "phi3"]
)
def test_the_manifest_tells_mesh_architecture_and_placements(shardwise, tmp_path, sizes, options, ranks, placements):
    folder = make_checkpoint(tmp_path / "checkpoint", **sizes)
    shardwise.check("load", folder, f"--out={tmp_path / 'out'}", *options, ranks=ranks)
    manifest = json.loads((tmp_path / "out" / "shardwise.json").read_text())
    assert manifest["schema"] == "shardwise.manifest/1"
    assert (manifest["world"], manifest["mesh"]) == (ranks, {"pp": 1, "dp": 1, "fsdp": 1, "tp": ranks, "ep": ranks})
    assert manifest["architecture"] == sizes["arch"]
    assert manifest["files"] == [f"model-rank-{rank}-part-0.safetensors" for rank in range(ranks)]
    assert {name: manifest["tensors"][name]["placement"] for name in placements} == placements


def test_the_manifest_lists_whole_shapes_types_and_tied_names(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", tied=True, vocab=101)
    shardwise.check("load", folder, f"--out={tmp_path / 'out'}", "--dp=2", ranks=4)
    manifest = json.loads((tmp_path / "out" / "shardwise.json").read_text())
    assert (manifest["world"], manifest["mesh"]) == (4, {"pp": 1, "dp": 2, "fsdp": 1, "tp": 2, "ep": 2})
    assert manifest["tied"] == {"lm_head.weight": "model.embed_tokens.weight"}
    listed = {name: (tensor["dtype"], tensor["shape"]) for name, tensor in manifest["tensors"].items()}
    assert listed == {name: (tensor.dtype, list(tensor.array.shape)) for name, tensor in read_folder(folder).items()}


def digest_of(shardwise, folder, out):
    shardwise.check("load", folder, f"--out={out}", ranks=1)
    return json.loads((out / "shardwise.json").read_text())["source_digest"]


def test_the_source_digest_tells_checkpoints_apart(shardwise, tiny, tmp_path):
    """It is of names, shapes and places: the same for the same files, another for another layout."""
    other = make_checkpoint(tmp_path / "other", vocab=256)
    digests = [digest_of(shardwise, folder, tmp_path / "out") for folder in (tiny, tiny, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "first,second", [("safetensors", "safetensors"), ("hdf5", "safetensors"), ("safetensors", "hdf5")]
)
def test_a_second_load_leaves_no_file_of_the_first(shardwise, tiny, tmp_path, first, second):
    """A reader of rank files must not find ranks of a larger job, or both formats."""
    shardwise.check("load", tiny, f"--out={tmp_path / 'out'}", f"--format={first}", ranks=4)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    shardwise.check("load", tiny, f"--out={tmp_path / 'out'}", f"--format={second}", ranks=2)
    ending = "h5" if second == "hdf5" else "safetensors"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model-rank-0-part-0." + ending,
        "model-rank-1-part-0." + ending,
        "notes.txt",
        "shardwise.json",
    ]
