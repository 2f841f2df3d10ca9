"""README's example of a new architecture works as printed, and what README names exists."""
import json
import re

import numpy
import pytest
from conftest import SOURCE

safetensors = pytest.importorskip("safetensors.numpy")
README = (SOURCE / "README.md").read_text()


def test_the_example_architecture_loads(shardwise, tmp_path):
    (example,) = re.findall(r"```json\n(.*?)```", README, re.S)
    (tmp_path / "nano.json").write_text(example)
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


PATHS = re.findall(r"\b(?:launch|configs|bench|include|tests)/[\w./-]*\w", README)


@pytest.mark.parametrize("path", sorted(set(PATHS)))
def test_named_files_exist(path):
    assert (SOURCE / path).exists()


def test_every_option_that_readme_names_is_one(shardwise):
    help_text = "".join(shardwise.check(command, "--help").stdout for command in ("load", "plan", "export", "convert"))
    options = set(re.findall(r"--[a-z][a-z-]+", help_text))
    of_other_programs = {"--hosts", "--hostfile", "--nodes", "--install", "--prefix"}
    assert set(re.findall(r"--[a-z][a-z-]+", README)) - of_other_programs <= options


def test_every_known_model_type_is_listed(shardwise):
    known = re.search(r"Known model types: (.*)", shardwise.check("--help").stdout).group(1).split(", ")
    listed = re.search(r"^Known: (.*?)\.", README, re.M | re.S).group(1).split(", ")
    assert sorted(known) == sorted(listed)
