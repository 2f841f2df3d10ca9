"""--expect and --strict: what a checkpoint lacks, has too much of, or has in another shape is told."""

import json

import numpy as np
import pytest

from checkpoints import Tensor, random_tensor, read_rank, write_checkpoint, write_file

CONFIG = {"model_type": "llama", "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
LAYERS = 12


@pytest.fixture(scope="module")
def tensors():
    random = np.random.default_rng(5)
    found = {"model.embed_tokens.weight": random_tensor(random, "BF16", 8, 4), "model.norm.weight":
             random_tensor(random, "BF16", 4)}
    for layer in range(LAYERS):
        found[f"model.layers.{layer}.mlp.up_proj.weight"] = random_tensor(random, "BF16", 6, 4)
    return found


@pytest.fixture(scope="module")
def checkpoint(tensors, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("expect"), CONFIG, {"model.safetensors": tensors})


def expectation(tensors):
    """What the checkpoint holds, in the form of --expect."""
    return {name: {"dtype": dtype, "shape": list(array.shape)} for name, (dtype, array) in tensors.items()}


def write(path, expected):
    path.write_text(json.dumps(expected))
    return path


def differences(shardwise, tmp_path, checkpoint, file, ranks=2):
    """As every way of telling them has it: the report of load, the plan, and the warnings on stderr."""
    stats = tmp_path / "stats.json"
    result = shardwise.check("load", checkpoint, f"--expect={file}", f"--stats={stats}", f"--out={tmp_path / 'out'}",
                             ranks=ranks)
    told = json.loads(stats.read_text())["differences"]
    plan = shardwise.check("plan", checkpoint, f"--expect={file}", "--tp=2", "--json")
    assert json.loads(plan.stdout)["differences"] == told
    return told, result.stderr


def test_nothing_is_said_where_all_is_as_expected(shardwise, tmp_path, checkpoint, tensors):
    told, stderr = differences(shardwise, tmp_path, checkpoint, write(tmp_path / "e.json", expectation(tensors)))
    assert told == {"missing": [], "unexpected": [], "mismatched": []}
    assert "warning" not in stderr
    shardwise.check("load", checkpoint, f"--expect={tmp_path / 'e.json'}", "--strict", ranks=2)


def test_a_safetensors_file_says_what_is_expected(shardwise, tmp_path, checkpoint, tensors):
    file = tmp_path / "expected.safetensors"
    write_file(file, {name: Tensor(dtype, np.zeros_like(array)) for name, (dtype, array) in tensors.items()})
    told, _ = differences(shardwise, tmp_path, checkpoint, file)
    assert not any(told.values())


def test_missing_unexpected_and_mismatched_are_told_in_few_words(shardwise, tmp_path, checkpoint, tensors):
    expected = expectation(tensors)
    del expected["model.norm.weight"]
    for layer in range(LAYERS):
        expected[f"model.layers.{layer}.mlp.gate_proj.weight"] = {}
    expected["model.layers.3.mlp.up_proj.weight"]["shape"] = [6, 5]
    expected["model.layers.4.mlp.up_proj.weight"]["shape"] = [6, 5]
    expected["model.embed_tokens.weight"]["dtype"] = "F32"
    told, stderr = differences(shardwise, tmp_path, checkpoint, write(tmp_path / "e.json", expected))
    assert told["missing"] == [f"model.layers.{layer}.mlp.gate_proj.weight" for layer in range(LAYERS)]
    assert told["unexpected"] == ["model.norm.weight"]
    assert {entry["name"]: (entry["found"], entry["expected"]) for entry in told["mismatched"]} == {
        "model.embed_tokens.weight": ("BF16 [8, 4]", "F32 [8, 4]"),
        "model.layers.3.mlp.up_proj.weight": ("BF16 [6, 4]", "BF16 [6, 5]"),
        "model.layers.4.mlp.up_proj.weight": ("BF16 [6, 4]", "BF16 [6, 5]"),
    }
    assert f"{LAYERS} expected parameter(s) are missing: model.layers.{{0...11}}.mlp.gate_proj.weight" in stderr
    assert "1 parameter(s) are not expected: model.norm.weight" in stderr
    assert "model.layers.{3, 4}.mlp.up_proj.weight: BF16 [6, 4], expected BF16 [6, 5]" in stderr
    assert stderr.count("are missing") == 1, "one rank speaks for all"


def test_what_is_not_expected_is_not_read(shardwise, tmp_path, checkpoint, tensors):
    expected = expectation(tensors)
    for layer in range(LAYERS):
        del expected[f"model.layers.{layer}.mlp.up_proj.weight"]
    differences(shardwise, tmp_path, checkpoint, write(tmp_path / "e.json", expected))
    stats = json.loads((tmp_path / "stats.json").read_text())
    held = read_rank(tmp_path / "out", 0)
    assert set(held) == set(expected)
    assert stats["bytes"]["read"]["sum"] < sum(a.nbytes for _, a in tensors.values()) / 2


def test_tied_names_are_not_missing(shardwise, tmp_path, checkpoint, tensors):
    expected = {**expectation(tensors), "lm_head.weight": {"dtype": "BF16", "shape": [8, 4]}}
    told, _ = differences(shardwise, tmp_path, checkpoint, write(tmp_path / "e.json", expected))
    assert not any(told.values())


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("change,words", [
    (lambda e: e.update({"model.extra": {}}), "1 expected parameter(s) are missing: model.extra"),
    (lambda e: e.pop("model.norm.weight"), "1 parameter(s) are not expected: model.norm.weight"),
    (lambda e: e["model.norm.weight"].update(shape=[5]), "model.norm.weight: BF16 [4], expected BF16 [5]"),
], ids=["missing", "unexpected", "mismatched"])
def test_strict_refuses_any_difference_before_a_byte_is_read(shardwise, tmp_path, checkpoint, tensors, change, words,
                                                            ranks):
    expected = expectation(tensors)
    change(expected)
    file = write(tmp_path / "e.json", expected)
    result = shardwise.run("load", checkpoint, f"--expect={file}", "--strict", f"--out={tmp_path / 'out'}", ranks=ranks)
    assert result.returncode == 3
    assert words in result.stderr
    assert not (tmp_path / "out" / "shardwise.json").exists()


def test_an_architecture_can_say_what_its_models_have(shardwise, tmp_path, checkpoint):
    description = {
        "family": "mine", "model_types": [], "base": "model", "plans": {"tp": {}}, "ignore_missing": "inv_freq$",
        "tied": {"lm_head.weight": "model.embed_tokens.weight"},
        "parameters": {
            "model.layers.{12}.mlp.up_proj.weight": ["6", "4"],
            "model.layers.{1...12}.mlp.down_proj.weight": {"shape": ["4", "6"], "optional": True},
            "model.layers.{0...1}.q": {"if": "tie_word_embeddings == 0"},
            "model.embed_tokens.weight": {"dtype": "BF16"}, "lm_head.weight": {}, "inv_freq": ["2"],
            "model.norms.weight": ["4"],
        },
    }
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(description))
    stats = tmp_path / "stats.json"
    shardwise.check("load", checkpoint, f"--arch={file}", f"--stats={stats}", f"--out={tmp_path / 'out'}", ranks=2)
    assert json.loads(stats.read_text())["differences"] == {
        "missing": ["model.norms.weight"], "unexpected": ["model.norm.weight"], "mismatched": []}
    assert "model.norm.weight" in read_rank(tmp_path / "out", 0), "only --expect leaves things out"
    assert shardwise.run("load", checkpoint, f"--arch={file}", "--strict", ranks=2).returncode == 3


def test_an_architecture_says_nothing_where_config_does_not_tell_the_names(shardwise, tmp_path, checkpoint):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"family": "mine", "model_types": [], "plans": {"tp": {}}, "parameters": {
        "model.norm.weight": ["9"], "model.layers.{num_hidden_layers}.q": []}}))
    plan = shardwise.check("plan", checkpoint, f"--arch={file}", "--tp=2", "--json")
    assert not any(json.loads(plan.stdout)["differences"].values())
    result = shardwise.run("plan", checkpoint, f"--arch={file}", "--tp=2", "--strict")
    assert result.returncode == 3
    assert "config.json has no whole number 'num_hidden_layers', which" in result.stderr


def test_a_file_of_more_rules_can_say_it_too(shardwise, tmp_path, checkpoint):
    rules = {"family": "more", "model_types": [], "plans": {}, "ignore_missing": "inv_freq$",
             "parameters": {"model.norm.weight": ["4"], "model.layers.{0...1}.mlp.gate_proj.weight": ["6", "4"],
                            "model.rotary.inv_freq": ["2"]}}
    file = tmp_path / "more.json"
    file.write_text(json.dumps(rules))
    plan = shardwise.check("plan", checkpoint, f"--rules={file}", "--tp=2", "--json")
    assert json.loads(plan.stdout)["differences"]["missing"] == [
        "model.layers.0.mlp.gate_proj.weight", "model.layers.1.mlp.gate_proj.weight"]


@pytest.mark.parametrize("text,words", [
    ("{", "expect.json"), ('{"a": {"dtype": "X"}}', "a.dtype: unknown dtype"), ("{}", "--strict"),
    ('{"only": {}}', "missing"),
])
def test_a_wrong_expectation_is_refused_by_name(shardwise, tmp_path, checkpoint, text, words):
    file = tmp_path / "expect.json"
    file.write_text(text)
    result = shardwise.run("load", checkpoint, f"--expect={file}", "--strict", ranks=2)
    assert result.returncode == 3
    assert words in result.stderr


def test_a_file_that_is_not_there_is_an_io_error(shardwise, tmp_path, checkpoint):
    result = shardwise.run("load", checkpoint, f"--expect={tmp_path / 'none.json'}", ranks=2)
    assert result.returncode == 4
    assert "none.json" in result.stderr
