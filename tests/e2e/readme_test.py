"""README's example of a new architecture works as printed, and what README names exists."""
import json
import re

import numpy
import pytest
from conftest import SOURCE

safetensors = pytest.importorskip("safetensors.numpy")
README = (SOURCE / "README.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", README, re.S)


def test_the_example_architecture_loads(shardwise, tmp_path):
    (tmp_path / "nano.json").write_text(EXAMPLES[0])
    random = numpy.random.default_rng(7)
    stored = {
        "transformer.h.0.attn.qkv.weight": random.standard_normal((24, 8), numpy.float32),
        "transformer.h.0.attn.o_proj.weight": random.standard_normal((8, 8), numpy.float32),
    }
    checkpoint = tmp_path / "nano"
    checkpoint.mkdir()
    safetensors.save_file(stored, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "nano"}))

    architecture = tmp_path / "nano.json"
    shardwise.check("load", checkpoint, "--arch", architecture, "--verify", "--out", tmp_path / "out", ranks=4)

    query, key, value = numpy.split(stored["transformer.h.0.attn.qkv.weight"], 3)
    for rank in range(4):
        held = safetensors.load_file(tmp_path / f"out/model-rank-{rank}-part-0.safetensors")
        expected = {f"model.layers.0.attn.{name}_proj.weight": numpy.split(whole, 4)[rank]
                    for name, whole in zip("qkv", (query, key, value))}
        output = stored["transformer.h.0.attn.o_proj.weight"]
        expected["model.layers.0.attn.o_proj.weight"] = numpy.split(output, 4, axis=1)[rank]
        assert held.keys() == expected.keys()
        for name, tensor in expected.items():
            numpy.testing.assert_array_equal(held[name], tensor, err_msg=f"{name} on rank {rank}")


def test_the_example_of_parts_loads_with_the_rules_of_their_types(shardwise, tmp_path):
    (tmp_path / "nano_vision.json").write_text(EXAMPLES[1])
    (tmp_path / "more.json").write_text(json.dumps({
        "family": "more", "model_types": [], "transforms": [{"rename": "^text\\.", "to": "language_model.model."}],
        "plans": {"tp": {"base": {"language_model.layers.*.mlp.up_proj": "rowwise"}}}}))
    random = numpy.random.default_rng(8)
    stored = {name: random.standard_normal((8, 8), numpy.float32) for name in (
        "text.layers.0.self_attn.q_proj.weight", "text.layers.0.mlp.up_proj.weight",
        "vision_tower.vision_model.encoder.w", "model.connector.w")}
    checkpoint = tmp_path / "nano_vision"
    checkpoint.mkdir()
    safetensors.save_file(stored, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text(json.dumps({
        "model_type": "nano_vision", "text_config": {"model_type": "llama"},
        "vision_config": {"model_type": "clip_vision_model"}}))

    shardwise.check("load", checkpoint, "--arch", tmp_path / "nano_vision.json", "--rules", tmp_path / "more.json",
                    "--verify", "--out", tmp_path / "out", ranks=2)

    query, up, vision, connector = stored.values()
    for rank in range(2):
        held = safetensors.load_file(tmp_path / f"out/model-rank-{rank}-part-0.safetensors")
        expected = {"model.language_model.layers.0.self_attn.q_proj.weight": numpy.split(query, 2)[rank],
                    "model.language_model.layers.0.mlp.up_proj.weight": numpy.split(up, 2, axis=1)[rank],
                    "model.vision_tower.encoder.w": vision, "model.multi_modal_projector.w": connector}
        assert held.keys() == expected.keys()
        for name, tensor in expected.items():
            numpy.testing.assert_array_equal(held[name], tensor, err_msg=f"{name} on rank {rank}")


PATHS = re.findall(r"\b(?:launch|configs|bench|include|tests)/[\w./-]*\w", README)


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_named_files_exist(path):
    assert (SOURCE / path).exists()


def test_every_option_that_readme_names_is_one(shardwise):
    help_text = "".join(shardwise.check(command, "--help").stdout for command in ("load", "plan", "export", "convert"))
    options = set(re.findall(r"--[a-z][a-z-]+", help_text))
    of_other_programs = {"--oracle", "--hosts", "--hostfile", "--mpirun", "--nodes", "--install", "--prefix"}
    assert set(re.findall(r"--[a-z][a-z-]+", README)) - of_other_programs <= options


def test_as_many_model_types_are_known_as_readme_says(shardwise):
    known = re.search(r"Known model types: (.*)", shardwise.check("--help").stdout).group(1).split(", ")
    assert f"\n{len(known)} model types are known" in README


def test_the_explanation_is_what_the_program_prints(shardwise, tmp_path):
    block = re.search(r"```\n\$ shardwise plan /models/nano (.*)\n([\s\S]*?)```", README)
    (tmp_path / "nano.json").write_text(EXAMPLES[0])
    checkpoint = tmp_path / "nano"
    checkpoint.mkdir()
    stored = {"transformer.h.0.attn.qkv.weight": numpy.arange(96, dtype=numpy.float16).reshape(12, 8)}
    safetensors.save_file(stored, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "nano"}))
    options = block[1].replace("nano.json", str(tmp_path / "nano.json")).split()
    assert shardwise.check("plan", checkpoint, *options).stdout == block[2]
