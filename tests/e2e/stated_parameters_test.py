"""Built-in architectures state what their models consist of: a checkpoint that lacks a parameter, has one too many, or
one of another shape is told without --expect. What is right was recorded from transformers' own models
(tests/oracle/structures.py), one for every switch of their configurations; with --oracle it is recorded anew."""

import gzip
import json
import os
import subprocess
import zlib

import numpy as np
import pytest

from checkpoints import Tensor, read_rank, write_checkpoint
from conftest import SHARED, SOURCE
from refusal import INPUT

RECORD = SOURCE / "tests/fixtures/structures.json.gz"
CASES = json.loads(gzip.decompress(RECORD.read_bytes()))
PYTHON = os.environ.get("SHARDWISE_ORACLE_PYTHON")
NONE = {"missing": [], "unexpected": [], "mismatched": []}
FIRST = {name.split()[0]: name for name in reversed(list(CASES))}  # {model type: its plainest case}


def zeros(*shape, dtype="BF16"):
    return Tensor(dtype, np.zeros(shape, {"BF16": np.uint16, "F32": np.uint32}.get(dtype, np.uint8)))


def plan(shardwise, folder, config, saved, *options):
    """saved: {name: shape or Tensor}. The plan's differences and parameters."""
    tensors = {name: value if isinstance(value, Tensor) else zeros(*value) for name, value in saved.items()}
    write_checkpoint(folder, config, {"model.safetensors": tensors})
    printed = json.loads(shardwise.check("plan", folder, "--tp=2", "--json", *options).stdout)
    return printed["differences"]


def refusal(shardwise, folder, *options):
    result = shardwise.run("plan", folder, "--tp=2", "--strict", *options)
    assert result.returncode == INPUT, result.stdout + result.stderr
    return result.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_models_own_checkpoint_has_all_that_is_stated_and_no_more(shardwise, tmp_path, case):
    recorded = CASES[case]
    assert plan(shardwise, tmp_path, recorded["config"], recorded["saved"], "--strict") == NONE


def wider(name, shape):
    """One more along every dimension that no plan states blocks of, so that it can still be cut."""
    if "c_attn" in name or "query_key_value" in name:
        axis = 0 if "c_attn" in name else 1
        return [extent + (i == axis) for i, extent in enumerate(shape)] if len(shape) > 1 else shape
    return [extent + 1 for extent in shape]


@pytest.mark.parametrize("case", CASES)
def test_every_shape_that_is_stated_is_the_models(shardwise, tmp_path, case):
    recorded = CASES[case]
    saved = {name: wider(name, shape) for name, shape in recorded["saved"].items()}
    told = plan(shardwise, tmp_path, recorded["config"], saved)
    expected = {name: f"[{', '.join(map(str, shape))}]" for name, shape in recorded["held"].items()
                if wider(name, shape) != shape}
    if recorded["config"]["tie_word_embeddings"]:
        expected.pop("lm_head.weight")  # is told under the name that is stored
    found = {entry["name"]: entry["expected"] for entry in told["mismatched"]}
    found.pop("lm_head.weight", None)
    expected.pop("lm_head.weight", None)
    assert found == expected
    assert told["missing"] == told["unexpected"] == []


@pytest.mark.parametrize("case", CASES)
def test_all_that_is_absent_is_missing(shardwise, tmp_path, case):
    recorded = CASES[case]
    embedding = next(iter(recorded["held"]))
    told = plan(shardwise, tmp_path, recorded["config"], {embedding: recorded["held"][embedding]})
    tied = ["lm_head.weight"] if recorded["config"]["tie_word_embeddings"] else []
    assert sorted(told["missing"]) == sorted(recorded["held"].keys() - {embedding, *tied})
    assert told["unexpected"] == told["mismatched"] == []


@pytest.mark.parametrize("model_type", FIRST)
def test_one_missing_one_more_and_one_of_another_shape_are_told_exactly(shardwise, tmp_path, model_type):
    recorded = CASES[FIRST[model_type]]
    saved = dict(recorded["saved"])
    plain = sorted(name for name, shape in saved.items()
                   if recorded["held"].get(name) == shape and wider(name, shape) == [n + 1 for n in shape]
                   and not name.startswith("lm_head") and "embed" not in name and "wte" not in name)
    random = np.random.default_rng(zlib.crc32(model_type.encode()))
    lost, wrong = random.choice(plain, 2, replace=False)
    del saved[lost]
    more = f"{wrong.rsplit('.', 1)[0]}.more"
    saved[more] = [3]
    saved[wrong] = wider(wrong, saved[wrong])
    told = plan(shardwise, tmp_path, recorded["config"], saved)
    shape = {name: ", ".join(map(str, shape)) for name, shape in (*saved.items(), ("right", recorded["held"][wrong]))}
    assert told == {"missing": [lost], "unexpected": [more], "mismatched": [
        {"name": wrong, "found": f"BF16 [{shape[wrong]}]", "expected": f"[{shape['right']}]"}]}
    words = refusal(shardwise, tmp_path)
    for part in (f"1 expected parameter(s) are missing: {lost}", f"1 parameter(s) are not expected: {more}",
                 f"{wrong}: BF16 [{shape[wrong]}], expected [{shape['right']}]"):
        assert part in words


GOLDEN = sorted(path.parent.name for path in (SHARED / "golden").glob("*/ckpt")) or ["absent"]


@pytest.mark.parametrize("model", GOLDEN)
def test_golden_models_are_as_stated(shardwise, golden, model):
    printed = shardwise.check("plan", golden / model / "ckpt", "--tp=2", "--json", "--strict").stdout
    assert json.loads(printed)["differences"] == NONE


# Whole models of other classes, base models, names without the base model's path


def test_of_a_class_that_is_not_stated_only_the_base_model_is_compared(shardwise, tmp_path):
    recorded = CASES["llama"]
    config = {**recorded["config"], "architectures": ["LlamaForSequenceClassification"]}
    saved = {**recorded["saved"], "score.weight": [3, 32]}
    del saved["lm_head.weight"]
    assert plan(shardwise, tmp_path, config, saved, "--strict") == NONE
    del saved["model.norm.weight"]
    saved["model.more"] = [2]
    told = plan(shardwise, tmp_path, config, saved)
    assert told == {"missing": ["model.norm.weight"], "unexpected": ["model.more"], "mismatched": []}


@pytest.mark.parametrize("classes", [{"architectures": ["LlamaModel"]}, {"architectures": None}])
def test_a_base_model_alone_is_compared_by_its_own_names(shardwise, tmp_path, classes):
    recorded = CASES["llama"]
    config = {**recorded["config"], **classes}
    saved = {name.removeprefix("model."): shape for name, shape in recorded["saved"].items() if name[0] == "m"}
    assert plan(shardwise, tmp_path, config, saved, "--strict") == NONE
    del saved["layers.1.mlp.up_proj.weight"]
    saved["layers.2.mlp.up_proj.weight"] = [24, 32]
    told = plan(shardwise, tmp_path, config, saved)
    assert told == {"missing": ["layers.1.mlp.up_proj.weight"], "unexpected": ["layers.2.mlp.up_proj.weight"],
                    "mismatched": []}


@pytest.mark.parametrize("model_type,base", [("gpt2", "transformer."), ("bloom", "transformer.")])
def test_published_names_without_the_base_models_path_become_the_models(shardwise, tmp_path, model_type, base):
    recorded = CASES[FIRST[model_type]]
    random = np.random.default_rng(2)
    bare = {name.removeprefix(base): Tensor("BF16", random.integers(0, 1 << 16, shape, np.uint16))
            for name, shape in recorded["saved"].items()}
    assert plan(shardwise, tmp_path / "bare", recorded["config"], bare, "--strict") == NONE
    whole = {name: bare[name.removeprefix(base)] for name in recorded["saved"]}
    write_checkpoint(tmp_path / "whole", recorded["config"], {"model.safetensors": whole})
    for folder in ("bare", "whole"):
        shardwise.check("load", tmp_path / folder, f"--out={tmp_path / folder / 'out'}", ranks=2)
    for rank in range(2):
        held, expected = (read_rank(tmp_path / folder / "out", rank) for folder in ("bare", "whole"))
        assert held.keys() == expected.keys() == set(recorded["saved"])
        assert all((held[name].array == expected[name].array).all() for name in held)
    shardwise.check("export", tmp_path / "bare/out", f"--out={tmp_path / 'back'}")
    shardwise.check("verify", tmp_path / "bare", tmp_path / "back")


# Where config.json does not tell what the parameters are


@pytest.mark.parametrize("case,change,words", [
    ("llama", {"num_hidden_layers": None}, "'num_hidden_layers'"),
    ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantized by gptq"),
    ("qwen3_moe", {"decoder_sparse_step": 0}, "1 % 0 is not defined"),
])
def test_nothing_is_compared_and_strict_says_why(shardwise, tmp_path, case, change, words):
    recorded = CASES[case]
    saved = {**recorded["saved"], "more": [2]}
    assert plan(shardwise, tmp_path, {**recorded["config"], **change}, saved) == NONE
    assert words in refusal(shardwise, tmp_path)


# Quantized models, held as stored: scales belong to what they scale


def fp8(shape):
    return Tensor("F8_E4M3", np.zeros(shape, np.uint8))


def test_scales_of_fp8_weights_are_expected_with_them(shardwise, tmp_path):
    recorded = CASES["llama"]
    config = {**recorded["config"], "quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 8]}}
    saved = dict(recorded["saved"])
    for name, shape in recorded["saved"].items():
        if "_proj" in name:
            saved[name] = fp8(shape)
            saved[f"{name}_scale_inv"] = zeros(shape[0] // 8, shape[1] // 8, dtype="F32")
    options = ("--quantized=dequantize",)
    assert plan(shardwise, tmp_path, config, saved, "--strict", *options) == NONE
    result = shardwise.check("plan", tmp_path, "--tp=1", "--json", "--strict")
    assert json.loads(result.stdout)["differences"] == NONE
    saved["model.norm.weight_scale_inv"] = [1]
    lost = "model.layers.0.mlp.up_proj.weight"
    del saved[lost], saved[f"{lost}_scale_inv"]
    write_checkpoint(tmp_path, config, {"model.safetensors": {
        name: value if isinstance(value, Tensor) else zeros(*value) for name, value in saved.items()}})
    result = shardwise.check("plan", tmp_path, "--tp=1", "--json")
    assert json.loads(result.stdout)["differences"] == {
        "missing": [lost], "unexpected": ["model.norm.weight_scale_inv"], "mismatched": []}


def test_blocks_and_scales_stand_for_mxfp4_experts(shardwise, tmp_path):
    recorded = CASES["gpt_oss"]
    config = {**recorded["config"], "quantization_config": {"quant_method": "mxfp4"}, "intermediate_size": 32}
    saved = dict(recorded["saved"])
    for layer in range(2):
        for name, rows in (("gate_up_proj", 64), ("down_proj", 32)):
            at = f"model.layers.{layer}.mlp.experts.{name}"
            del saved[at]
            saved[f"{at}_blocks"] = Tensor("U8", np.zeros((4, rows, 1, 16), np.uint8))
            saved[f"{at}_scales"] = Tensor("U8", np.zeros((4, rows, 1), np.uint8))
            saved[f"{at}_bias"] = [4, rows]
    for options in ((), ("--quantized=dequantize",)):
        assert plan(shardwise, tmp_path, config, saved, "--strict", *options) == NONE
    for part in ("blocks", "scales"):
        del saved[f"model.layers.1.mlp.experts.down_proj_{part}"]
    assert plan(shardwise, tmp_path, config, saved)["missing"] == ["model.layers.1.mlp.experts.down_proj"]


def test_the_record_is_the_installed_frameworks(tmp_path):
    if not PYTHON:
        pytest.skip("launch/test --oracle installs transformers and runs this")
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
    command = [PYTHON, SOURCE / "tests/oracle/structures.py", tmp_path / "new.json.gz"]
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    assert json.loads(gzip.decompress((tmp_path / "new.json.gz").read_bytes())) == CASES
