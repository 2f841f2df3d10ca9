"""Draft layers (multi-token prediction), which published checkpoints hold beside the model. They are left out where the
model has no such parameters, and never a layer that it has: descriptions name them by the number that they have in one
published model of the family ("layers.46" of one of 46 layers), and another of its models may have 92."""

import json

import pytest

np = pytest.importorskip("numpy")
from architectures_test import arrays_of, held_by_ranks  # noqa: E402 (they need numpy)
from checkpoints import random_tensor, write_checkpoint  # noqa: E402

NORM = "input_layernorm.weight"

# (model type, layers in config.json, layers stored, layers held)
BY_NUMBER = [
    ("deepseek_v3", 61, (0, 60, 61), (0, 60)),
    ("deepseek_v3", 62, (0, 60, 61), (0, 60, 61)),
    ("deepseek_v3", None, (0, 61), (0, 61)),
    ("deepseek_v32", 61, (0, 61), (0,)),
    ("glm4_moe", 46, (45, 46), (45,)),
    ("glm4_moe", 92, (45, 46, 91, 92), (45, 46, 91)),
    ("glm4_moe", 93, (46, 92), (46, 92)),
    ("glm4_moe_lite", 47, (46, 47), (46,)),
    ("glm_moe_dsa", 78, (77, 78), (77,)),
    ("hy_v3", 80, (8, 79, 80), (8, 79)),
    ("bailing_hybrid", 42, (4, 41, 42), (4, 41)),
]
# (model type, what its draft layers are called)
BY_NAME = [("deepseek_v4", "mtp.0"), ("deepseek_v4", "model.mtp.0"), ("qwen3_next", "mtp"), ("qwen3_5_text", "mtp"),
           ("ernie4_5_moe", "model.mtp_block.0"), ("exaone_moe", "mtp"), ("nemotron_h", "mtp"), ("mellum", "mtp"),
           ("longcat_flash", "model.mtp"), ("mimo_v2_flash", "model.mtp"), ("hy_v4", "model.mtp_layers.0"),
          ("glm5_next_text", "model.layers.0.shared_head")]


def names_held(tmp_path, config, names):
    held = held_by_ranks(tmp_path, {"case": (config, arrays_of({name: (4,) for name in names}))})["case"]
    assert not isinstance(held, str), held
    return {name for plan, tp, _, name in held if (plan, tp) == ("tp", 1)}


@pytest.mark.parametrize("model_type,layers,stored,held", BY_NUMBER)
def test_layers_behind_the_last_one_are_left_out(tmp_path, model_type, layers, stored, held):
    config = {"model_type": model_type, "num_hidden_layers": layers}
    found = names_held(tmp_path, config, [f"model.layers.{layer}.{NORM}" for layer in stored])
    assert found == {f"model.layers.{layer}.{NORM}" for layer in held}


@pytest.mark.parametrize("model_type,module", BY_NAME)
def test_draft_modules_are_left_out(tmp_path, model_type, module):
    layer = f"model.layers.0.{NORM}"
    found = names_held(tmp_path, {"model_type": model_type, "num_hidden_layers": 1}, [layer, f"{module}.{NORM}"])
    assert found == {layer}


def test_a_model_that_has_them_gets_them(shardwise, tmp_path):
    """By --expect: what a model has is never ignored."""
    random = np.random.default_rng(1)
    tensors = {f"model.layers.{layer}.{NORM}": random_tensor(random, "BF16", 4) for layer in (0, 61)}
    write_checkpoint(tmp_path / "model", {"model_type": "deepseek_v3", "num_hidden_layers": 1},
                     {"model.safetensors": tensors})
    (tmp_path / "expected.json").write_text(json.dumps({name: {} for name in tensors}))
    plan = shardwise.check("plan", tmp_path / "model", f"--expect={tmp_path / 'expected.json'}", "--strict",
                           "--tp=1", "--json")
    assert json.loads(plan.stdout)["differences"] == {"missing": [], "unexpected": [], "mismatched": []}
