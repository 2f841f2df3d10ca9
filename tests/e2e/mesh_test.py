"""Meshes of pipeline stages, replicas, fsdp, tp and ep: every rank holds the naive cut, whatever the mesh, and folders
of different meshes hold the same."""

import json

import pytest

from checkpoints import differences, read_folder, read_rank
from conftest import make_checkpoint
from reference import Mesh, expected_on_mesh

# Sizes that no mesh divides: short and empty parts, five layers on two stages, five experts on four ranks.
ODD = dict(hidden=37, intermediate=53, heads=5, kv_heads=3, head_dim=7, vocab=101)
MODELS = {
    "llama": dict(arch="llama", layers=5, **ODD),
    "tied": dict(arch="llama", layers=4, tied=True, hidden=36, vocab=67),
    "kv": dict(arch="qwen2", hidden=40, vocab=131, heads=4, kv_heads=2, head_dim=5),
    "phi3": dict(arch="phi3", heads=4, kv_heads=2, head_dim=12, hidden=44, intermediate=30),
    "mixtral": dict(arch="mixtral", experts=5, hidden=36, intermediate=22, files=5),
    "qwen3_moe": dict(arch="qwen3_moe", experts=12, hidden=34, intermediate=18, files=3),
    "gpt_oss": dict(arch="gpt_oss", experts=4, hidden=28, intermediate=24),
}

# model, mesh, options, plan, kv heads
CASES = [
    ("llama", Mesh(pp=2, tp=2), [], "tp", "cut"),
    ("llama", Mesh(pp=3), ["--strategy=cooperative"], "tp", "cut"),
    ("llama", Mesh(fsdp=3), ["--strategy=cooperative"], "tp", "cut"),
    ("llama", Mesh(fsdp=2, tp=2), ["--strategy=direct"], "tp", "cut"),
    ("llama", Mesh(dp=2, fsdp=2, tp=2), ["--strategy=cooperative"], "tp", "cut"),
    ("llama", Mesh(pp=2, fsdp=2, tp=2), ["--strategy=cooperative", "--transport=mpi"], "tp", "cut"),
    ("tied", Mesh(pp=4), ["--strategy=cooperative"], "tp", "cut"),
    ("tied", Mesh(pp=3, dp=2), ["--strategy=cooperative", "--transport=mpi"], "tp", "cut"),
    ("kv", Mesh(fsdp=2, tp=4), ["--kv-heads=replicate", "--strategy=cooperative"], "tp", "replicate"),
    ("phi3", Mesh(fsdp=3, tp=2), ["--plan=packed"], "packed", "cut"),
    ("mixtral", Mesh(fsdp=2, tp=2), ["--strategy=cooperative"], "tp", "cut"),
    ("mixtral", Mesh(fsdp=2, tp=2, ep=4), ["--strategy=cooperative"], "ep", "cut"),
    ("mixtral", Mesh(tp=4), ["--plan=ep"], "ep", "cut"),
    ("mixtral", Mesh(pp=2, fsdp=2, ep=2), ["--strategy=direct"], "ep", "cut"),
    ("qwen3_moe", Mesh(fsdp=4, tp=2, ep=4), ["--strategy=cooperative"], "ep", "cut"),
    ("qwen3_moe", Mesh(pp=2, dp=2, fsdp=2, ep=2), [], "ep", "cut"),
    ("gpt_oss", Mesh(fsdp=4, ep=2), ["--strategy=cooperative"], "ep", "cut"),
]


@pytest.fixture(scope="module")
def model(made_once):
    return made_once(MODELS)


def describe(value):
    return " ".join(value.options() if isinstance(value, Mesh) else value) if not isinstance(value, str) else value


@pytest.mark.parametrize("name,mesh,options,plan,kv_heads", CASES, ids=describe)
def test_every_rank_of_a_mesh_holds_the_naive_cut(shardwise, model, tmp_path, name, mesh, options, plan, kv_heads):
    folder = model(name)
    shardwise.check("load", folder, *mesh.options(), f"--out={tmp_path}", "--verify", *options, ranks=mesh.world)
    config = json.loads((folder / "config.json").read_text())
    tensors = read_folder(folder)
    for rank in range(mesh.world):
        wrong = differences(read_rank(tmp_path, rank), expected_on_mesh(config, tensors, mesh, rank, plan, kv_heads))
        assert not wrong, f"rank {rank}: " + "; ".join(wrong)


@pytest.fixture(scope="module")
def folders(shardwise, model, tmp_path_factory):
    """Rank files of one model with experts from several meshes."""
    out = tmp_path_factory.mktemp("meshes")
    for name, ranks, options in [
        ("one", 1, []),
        ("tp", 3, []),
        ("pp_fsdp_tp", 8, ["--pp=2", "--fsdp=2", "--tp=2"]),
        ("ep", 4, ["--fsdp=2", "--tp=2", "--ep=4"]),
        ("dp_hdf5", 4, ["--pp=2", "--dp=2", "--format=hdf5"]),
    ]:
        shardwise.check("load", model("mixtral"), f"--out={out / name}", *options, ranks=ranks)
    return out


@pytest.mark.parametrize("a,b", [("one", "pp_fsdp_tp"), ("pp_fsdp_tp", "ep"), ("ep", "tp"), ("dp_hdf5", "ep")])
def test_folders_of_different_meshes_hold_the_same(shardwise, folders, a, b):
    result = shardwise.run("verify", folders / a, folders / b)
    assert result.returncode == 0, result.stdout + result.stderr
    count = len(read_rank(folders / "one", 0))
    assert result.stdout == f"{count} of {count} tensors are the same\n"


def test_a_stage_that_holds_what_the_manifest_gives_to_another_is_refused(shardwise, folders, tmp_path):
    for path in (folders / "pp_fsdp_tp").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / "shardwise.json").read_text())
    manifest["tensors"]["model.embed_tokens.weight"]["placement"]["stages"] = [1]
    (tmp_path / "shardwise.json").write_text(json.dumps(manifest))
    result = shardwise.run("verify", folders / "one", tmp_path)
    assert result.returncode == 3 and "model.embed_tokens.weight" in result.stderr and "stage" in result.stderr


def test_the_manifest_tells_mesh_stages_and_cuts_one_after_the_other(folders):
    manifest = json.loads((folders / "pp_fsdp_tp" / "shardwise.json").read_text())
    assert manifest["mesh"] == {"pp": 2, "dp": 1, "fsdp": 2, "tp": 2, "ep": 2}
    placement = manifest["tensors"]["model.layers.1.mlp.experts.gate_up_proj"]["placement"]
    assert placement == {
        "kind": "packed",
        "dim": 1,
        "blocks": [{"size": 22, "parts": 2, "repeat": 1}] * 2,
        "then": [{"kind": "shard", "dim": 0, "axis": "fsdp"}],
        "stages": [1],
    }
    placement = json.loads((folders / "ep" / "shardwise.json").read_text())["tensors"][
        "model.layers.1.mlp.experts.down_proj"
    ]["placement"]
    blocks = [{"size": 5, "parts": 4, "repeat": 1}]
    assert placement == {"kind": "expert", "dim": 0, "axis": "ep", "blocks": blocks}


def test_hdf5_rank_files_tell_the_cuts_in_words(folders):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folders / "dp_hdf5" / "model-rank-3-part-0.h5") as file:
        assert set(file.keys()) == set(read_rank(folders / "pp_fsdp_tp", 7))
        placement = file["lm_head.weight"].attrs["placement"]
        assert (placement.decode() if isinstance(placement, bytes) else placement) == "shard 0; stage 1"


@pytest.mark.parametrize(
    "mesh", [Mesh(pp=2, tp=2), Mesh(dp=2, fsdp=2), Mesh(fsdp=2, tp=2, ep=4)], ids=lambda mesh: " ".join(mesh.options())
)
def test_plan_simulates_the_mesh_of_a_load(shardwise, model, tmp_path, mesh):
    folder = model("qwen3_moe")
    options = [*mesh.options(), "--strategy=cooperative"]
    loaded = shardwise.check("load", folder, *options, f"--stats={tmp_path / 'stats.json'}", ranks=mesh.world)
    stats = json.loads((tmp_path / "stats.json").read_text())
    planned = json.loads(shardwise.check("plan", folder, *options, "--json").stdout)
    sizes = {**mesh._asdict(), "world": mesh.world, "ep": mesh.ep or mesh.tp}
    for document in (stats, planned):
        assert {name: document[name] for name in sizes} == sizes
    assert stats["plan_digest"] == planned["digest"]
    assert [rank["bytes"]["needed"] for rank in stats["ranks"]] == [rank["needed_bytes"] for rank in planned["ranks"]]
    words = [f"{name} {size}" for name, size in mesh._asdict().items() if size > 1]
    assert all(word in loaded.stdout for word in words), loaded.stdout


@pytest.mark.parametrize(
    "mesh,plan",
    [
        (Mesh(tp=2), "ep"),
        (Mesh(dp=2, tp=2), "tp"),
        (Mesh(dp=2, tp=2), "ep"),
        (Mesh(dp=2, fsdp=2), "tp"),
        (Mesh(pp=2, dp=2), "tp"),
        (Mesh(fsdp=2, tp=2, ep=4), "ep"),
        (Mesh(pp=2, dp=2, fsdp=2, ep=2), "ep"),
    ],
    ids=describe,
)
def test_replicas_share_one_read_of_experts_as_of_anything_else(shardwise, experts, mesh, plan):
    """Of cold files nothing is read twice, be it needed by every rank or, as whole experts, by one of each copy."""
    options = [*mesh.options(), f"--plan={plan}", "--assume=cold", "--json"]
    planned = json.loads(shardwise.check("plan", experts, *options).stdout)
    once = sum(planned["strategy_bytes"].values())
    read = sum(rank["read_bytes"] for rank in planned["ranks"])
    assert read <= 1.02 * once


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """Large enough that the gaps between its tensors do not count."""
    sizes = dict(arch="mixtral", experts=8, hidden=256, intermediate=320)
    return make_checkpoint(tmp_path_factory.mktemp("experts") / "model", **sizes)
