"""The way back: rank files of any cut become the checkpoint they were loaded from, tensor by tensor and byte by byte,
without that checkpoint. Files are compared as the safetensors library reads them."""

import json
import shutil

import numpy as np
import pytest

from checkpoints import Tensor, differences, random_tensor, read_file, write_checkpoint
from conftest import SHARED
from golden_test import plans_of

INDEX = "model.safetensors.index.json"
# Sizes that no number of ranks divides: short and empty shards, data at odd offsets.
MODELS = {
    "llama": dict(arch="llama", hidden=37, intermediate=53, heads=5, kv_heads=3, head_dim=7, vocab=101),
    "llama_tied": dict(arch="llama", tied=True, files=1),
    "llama_heads": dict(arch="llama", heads=8, kv_heads=2),
    "qwen2": dict(arch="qwen2", hidden=40, vocab=131, heads=4, kv_heads=2, head_dim=5),
    "mixtral": dict(arch="mixtral", experts=12, hidden=36, intermediate=22, files=5),
    "qwen3_moe": dict(arch="qwen3_moe", experts=12, hidden=34, intermediate=18, files=3),
    "phi3": dict(arch="phi3", heads=4, kv_heads=2, head_dim=12, hidden=44, intermediate=30),
    "gpt_oss": dict(arch="gpt_oss", experts=4, hidden=28, intermediate=24),
}
# model, ranks of the load, its options, ranks of the export
CASES = [
    ("llama", 1, [], 2),
    ("llama", 3, [], 1),
    ("llama", 8, ["--format=hdf5"], 3),
    ("llama_tied", 2, [], 2),
    ("llama_heads", 4, ["--kv-heads=replicate"], 2),
    ("llama_heads", 8, ["--kv-heads=replicate", "--format=hdf5"], 3),
    ("qwen2", 4, ["--dp=2"], 3),
    ("mixtral", 2, [], 3),
    ("mixtral", 3, ["--dp=3", "--plan=ep"], 1),
    ("mixtral", 4, ["--plan=ep", "--format=hdf5"], 2),
    ("qwen3_moe", 3, [], 4),
    ("qwen3_moe", 4, ["--plan=ep"], 1),
    ("phi3", 3, [], 2),
    ("phi3", 2, ["--plan=packed"], 3),
    ("gpt_oss", 3, [], 2),
    ("gpt_oss", 2, ["--plan=ep"], 4),
    ("gpt_oss", 2, ["--plan=ep", "--priority=*experts*", "--strategy=cooperative"], 1),
]


@pytest.fixture(scope="module")
def model(made_once):
    return made_once(MODELS)


def tensor_files(folder):
    return {path.name: read_file(path) for path in sorted(folder.glob("*.safetensors"))}


def weight_map(folder):
    index = folder / INDEX
    return json.loads(index.read_text())["weight_map"] if index.exists() else None


def order_in_file(path):
    """Names by the place of their data."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header.pop("__metadata__", None)
    return sorted(header, key=lambda name: (header[name]["data_offsets"], name))


def assert_same_checkpoint(out, source):
    """Names, types, shapes, bytes, files, order, index and configuration; and nothing besides."""
    names = [path.name for path in source.iterdir() if path.name == "config.json" or ".safetensors" in path.name]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    ours, theirs = tensor_files(out), tensor_files(source)
    for name in theirs:
        wrong = differences(ours[name], theirs[name])
        assert not wrong, f"{name}: " + "; ".join(wrong)
        assert order_in_file(out / name) == order_in_file(source / name)
    assert weight_map(out) == weight_map(source)
    assert (out / "config.json").read_bytes() == (source / "config.json").read_bytes()


def load(shardwise, source, out, *options, ranks=2):
    shardwise.check("load", source, f"--out={out}", *options, ranks=ranks)
    return out


@pytest.mark.parametrize("name,ranks,options,writers", CASES)
def test_rank_files_become_the_checkpoint_they_came_from(shardwise, model, tmp_path, name, ranks, options, writers):
    shutil.copytree(model(name), tmp_path / "source")
    load(shardwise, tmp_path / "source", tmp_path / "ranks", *options, ranks=ranks)
    shutil.rmtree(tmp_path / "source")  # the rank files tell everything
    result = shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=writers)
    assert_same_checkpoint(tmp_path / "out", model(name))
    tensors = sum(map(len, tensor_files(model(name)).values()))
    assert f"exported {tensors} tensors" in result.stdout and "left out" not in result.stdout
    index = tmp_path / "out" / INDEX
    if index.exists():
        data = sum(t.array.nbytes for file in tensor_files(tmp_path / "out").values() for t in file.values())
        assert json.loads(index.read_text())["metadata"]["total_size"] == data


def golden_cases():
    """(model, plan, tp)"""
    models = sorted(path.parent for path in (SHARED / "golden").glob("*/plan.json"))
    return [(model.name, plan, tp) for model in models for plan in plans_of(model) for tp in (2, 4)] or [("", "tp", 2)]


@pytest.mark.parametrize("name,plan,tp", golden_cases())
def test_files_of_the_framework_come_back_to_the_last_byte(shardwise, golden, tmp_path, name, plan, tp):
    """Headers, too: they are written as the reference implementation writes them."""
    source = golden / name / "ckpt"
    load(shardwise, source, tmp_path / "ranks", f"--plan={plan}", ranks=tp)
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=2)
    assert_same_checkpoint(tmp_path / "out", source)
    for path in source.glob("*.safetensors"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


# Every operation and kind of renaming, in names that the model does not have.
LAYERS = 2
CONFIG = {
    "model_type": "odd",
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "experts": 3,
    "query": 16,
    "key_value": 8,
}
RULES = {
    "family": "odd",
    "model_types": ["odd"],
    "base": "model",
    "ignore": "inv_freq$",
    "transforms": [
        {"rename_group": [r"^s(\d+)_b(\d+)_(\w+)_w$", r"^t(\d+)_(\w+)$"],
         "to": [r"model.stage.\1.block.\2.\3.weight", r"model.tail.\2.\1"]},
        {"rename_offset": r"^layer(\d+)\.", "to": r"model.layers.\1.", "offset": -1},
        {"rename": r"^emb\b", "to": "model.embed_tokens"},
        {"convert": "att.qkv", "to": ["q_proj", "k_proj", "v_proj"],
         "ops": [{"op": "Split", "dim": 0, "sizes": ["query", "key_value", "key_value"]}]},
        {"convert": "mlp.w13", "to": ["mlp.gate", "mlp.up"], "ops": [{"op": "Chunk", "dim": 0}]},
        {"convert": "mlp.w2", "to": "mlp.down", "ops": [{"op": "Transpose", "dim0": 0, "dim1": 1}]},
        {"convert": "mix.weight", "to": "mix.weight", "ops": [{"op": "Interleave", "dim": 1}]},
        {"convert": "rope", "to": "turned", "ops": [{"op": "PermuteForRope", "heads": "num_attention_heads"}]},
        {"convert": [".ex.*.a.weight", ".ex.*.b.weight"], "to": ".experts.ab",
         "ops": [{"op": "MergeModulelist", "dim": 0, "count": "experts"}, {"op": "Concatenate", "dim": 1}]},
        {"convert": "bank", "to": "banks.*", "ops": [{"op": "SplitModulelist", "dim": 0}]},
        {"convert": ["left", "right"], "to": "both", "ops": [{"op": "Concatenate", "dim": 0}]},
    ],
    "plans": {
        "tp": {
            "base": {
                "layers.*.q_proj": "colwise", "layers.*.k_proj": "colwise", "layers.*.v_proj": "rowwise",
                "layers.*.mlp.gate": "colwise", "layers.*.mlp.up": "rowwise", "layers.*.mlp.down": "rowwise",
                "layers.*.mix": "rowwise", "layers.*.turned": "colwise", "layers.*.experts.ab": "packed_colwise",
                "layers.*.banks.*": {"shard": 1}, "layers.*.both": {"packed": {"dim": 0, "blocks": ["3", "5"]}},
                "stage.*.block.*.norm": "colwise", "tail.*": "rowwise",
            }
        }
    },
}


def odd_tensors(generator):
    tensors = {"emb.weight": random_tensor(generator, "BF16", 19, 12), "inv_freq": random_tensor(generator, "F32", 4)}
    for layer in range(1, LAYERS + 1):
        shapes = {
            "att.qkv.weight": ("BF16", 32, 12), "mlp.w13.weight": ("F32", 22, 12), "mlp.w2.weight": ("BF16", 13, 10),
            "mix.weight": ("F16", 6, 10), "rope.weight": ("BF16", 16, 12), "bank": ("BF16", 2, 6, 5),
            "left": ("U8", 3, 4), "right": ("U8", 5, 4),
        }
        for expert in range(CONFIG["experts"]):
            shapes[f"ex.{expert}.a.weight"] = shapes[f"ex.{expert}.b.weight"] = ("BF16", 6, 4)
        tensors |= {f"layer{layer}.{name}": random_tensor(generator, *shape) for name, shape in shapes.items()}
        for block in range(2):
            tensors[f"s{layer}_b{block}_norm_w"] = random_tensor(generator, "F32", 9)
    tensors["t0_x"] = random_tensor(generator, "I32", 3, 7)
    tensors["t1_x"] = Tensor("BF16", np.zeros((0, 4), np.uint16))
    return tensors


@pytest.fixture
def odd(tmp_path):
    """A checkpoint of that kind in three files, and its rules."""
    tensors = odd_tensors(np.random.default_rng(3))
    names = list(tensors)
    files = {f"part-{i}.safetensors": {name: tensors[name] for name in names[i::3]} for i in range(3)}
    rules = tmp_path / "odd.json"
    rules.write_text(json.dumps(RULES))
    return write_checkpoint(tmp_path / "odd", CONFIG, files), rules


@pytest.mark.parametrize("ranks,options", [(1, []), (2, []), (3, ["--format=hdf5"]), (4, ["--dp=2"]), (5, [])])
def test_every_operation_and_renaming_is_turned_back(shardwise, odd, tmp_path, ranks, options):
    source, rules = odd
    load(shardwise, source, tmp_path / "ranks", f"--arch={rules}", *options, ranks=ranks)
    held = json.loads((tmp_path / "ranks/shardwise.json").read_text())["tensors"]
    assert {"model.stage.1.block.0.norm.weight", "model.layers.0.q_proj.weight", "model.layers.1.experts.ab",
            "model.layers.1.banks.1", "model.layers.0.both", "model.tail.x.0"} <= held.keys()
    rules.unlink()
    result = shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=2)
    assert "left out, because no rule or choice loads them: inv_freq\n" in result.stdout
    expected = tensor_files(source)
    for tensors in expected.values():
        tensors.pop("inv_freq", None)
    ours = tensor_files(tmp_path / "out")
    assert ours.keys() == expected.keys()
    for name in expected:
        assert not differences(ours[name], expected[name])


def test_values_that_were_changed_come_back_in_their_place(shardwise, odd, tmp_path):
    """As after training: element [5, 3] of k_proj is row 16 + 5 of the fused tensor, element [2, 7] of a transposed one
    is [7, 2]."""
    source, rules = odd
    load(shardwise, source, tmp_path / "ranks", f"--arch={rules}", ranks=2)
    places = ((1, "model.layers.0.k_proj.weight", (5 - 4, 3)), (1, "model.layers.1.mlp.down.weight", (2, 7 - 7)))
    for rank, name, at in places:
        path = tmp_path / "ranks" / f"model-rank-{rank}-part-0.safetensors"
        content = bytearray(path.read_bytes())
        length = int.from_bytes(content[:8], "little")
        entry = json.loads(content[8 : 8 + length])[name]
        offset = 8 + length + entry["data_offsets"][0] + 2 * (at[0] * entry["shape"][1] + at[1])
        content[offset : offset + 2] = b"\xab\xcd"
        path.write_bytes(content)
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=1)
    expected = {name: tensor for file in tensor_files(source).values() for name, tensor in file.items()}
    del expected["inv_freq"]
    for name, at in (("layer1.att.qkv.weight", (16 + 5, 3)), ("layer2.mlp.w2.weight", (7, 2))):
        array = expected[name].array.copy()
        array[at] = 0xCDAB
        expected[name] = Tensor(expected[name].dtype, array)
    ours = {name: tensor for file in tensor_files(tmp_path / "out").values() for name, tensor in file.items()}
    assert not differences(ours, expected)


@pytest.mark.parametrize("writers", [1, 3])
def test_files_are_split_anew_by_size(shardwise, model, tmp_path, writers):
    source = model("mixtral")
    load(shardwise, source, tmp_path / "ranks", ranks=2)
    limit = 40_000
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", "--max-shard-size=40kB", ranks=writers)
    files = tensor_files(tmp_path / "out")
    assert list(files) == [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    sizes = [sum(t.array.nbytes for t in tensors.values()) for tensors in files.values()]
    assert len(files) > 3 and all(size <= limit for size in sizes)
    ours = {name: tensor for tensors in files.values() for name, tensor in tensors.items()}
    theirs = {name: tensor for tensors in tensor_files(source).values() for name, tensor in tensors.items()}
    assert not differences(ours, theirs)
    assert weight_map(tmp_path / "out") == {name: file for file, tensors in files.items() for name in tensors}

    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'one'}", "--max-shard-size=1GB", ranks=writers)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["config.json", "model.safetensors"]
    assert not differences(read_file(tmp_path / "one/model.safetensors"), theirs)
    shardwise.check("verify", tmp_path / "one", tmp_path / "out")


def test_the_exported_checkpoint_loads_as_the_original_does(shardwise, model, tmp_path):
    load(shardwise, model("qwen3_moe"), tmp_path / "ranks", ranks=3)
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=2)
    load(shardwise, tmp_path / "out", tmp_path / "again", ranks=2)
    shardwise.check("verify", tmp_path / "again", tmp_path / "ranks")


def test_what_was_excluded_is_named_and_left_out(shardwise, model, tmp_path):
    load(shardwise, model("mixtral"), tmp_path / "ranks", "--exclude=*self_attn*", "--exclude=lm_head*")
    result = shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=2)
    ours = {name: tensor for file in tensor_files(tmp_path / "out").values() for name, tensor in file.items()}
    theirs = {name: tensor for file in tensor_files(model("mixtral")).values() for name, tensor in file.items()}
    left_out = {name for name in theirs if "self_attn" in name or name.startswith("lm_head")}
    assert not differences(ours, {name: tensor for name, tensor in theirs.items() if name not in left_out})
    (line,) = [line for line in result.stdout.splitlines() if "left out" in line]
    assert set(line.split(": ", 1)[1].split(", ")) == left_out
    assert weight_map(tmp_path / "out").keys() == ours.keys()


def test_notes_of_the_writer_come_back(shardwise, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"model_type": "llama"}')
    notes = {"format": "pt", "trained by": "näme\n"}
    safetensors.save_file({"model.norm.weight": np.ones(4, np.float32)}, source / "weights.safetensors", notes)
    load(shardwise, source, tmp_path / "ranks", ranks=2)
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=1)
    with pytest.importorskip("safetensors").safe_open(tmp_path / "out/weights.safetensors", "np") as file:
        assert file.metadata() == notes
