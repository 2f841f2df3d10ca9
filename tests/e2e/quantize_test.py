"""convert --quantize: codes and scales as numpy and ml_dtypes make them, that load like any quantized checkpoint."""

import json

import ml_dtypes
import numpy as np
import pytest

from checkpoints import Tensor, read_file, read_folder, read_rank, write_checkpoint
from refusal import INPUT, USAGE, assert_refused

CONFIG = {"model_type": "tiny_rope", "num_attention_heads": 2, "hidden_size": 8, "num_key_value_heads": 2}
# The reference's own case: a fused matrix is split, q and k are turned for their rotary embedding, q is quantized.
RULES = {
    "$schema": "schema.json",
    "family": "tiny_rope",
    "about": "q, k and v are stored one below the other.",
    "model_types": ["tiny_rope"],
    "transforms": [
        {
            "convert": "qkv_proj.weight",
            "to": ["q_proj.weight", "k_proj.weight", "v_proj.weight"],
            "ops": [{"op": "Chunk", "dim": 0}, {"op": "PermuteForRope", "names": ["q_proj", "k_proj"]}],
        }
    ],
    "plans": {"tp": {"base": {"q_proj": "colwise", "k_proj": "colwise", "v_proj": "colwise", "big": "colwise"}}},
}


def bf16(values):
    return Tensor("BF16", values.astype(ml_dtypes.bfloat16).view(np.uint16))


def numbers(tensor):
    return tensor.array.view(ml_dtypes.bfloat16).astype(np.float32)


def quantized(values, rows, columns):
    """Codes and stored scales of float32 values, whole blocks at a time."""
    blocks = values.reshape(-1, values.shape[-2] // rows, rows, values.shape[-1] // columns, columns)
    greatest = np.abs(blocks).max(axis=(2, 4), keepdims=True)
    scale = np.where(greatest > 0, np.float32(448) / np.where(greatest > 0, greatest, 1), 1).astype(np.float32)
    codes = np.clip(blocks * scale, -448, 448).astype(ml_dtypes.float8_e4m3fn).reshape(values.shape)
    return codes.view(np.uint8), (np.float32(1) / scale)[:, :, 0, :, 0]


def rope(matrix, heads):
    """Pairs of neighbours of each head's rows to two halves."""
    per_head = matrix.reshape(heads, -1, 2, matrix.shape[-1])
    return per_head.transpose(0, 2, 1, 3).reshape(matrix.shape)


@pytest.fixture
def source(tmp_path):
    values = np.random.default_rng(3).standard_normal
    tensors = {
        "qkv_proj.weight": bf16(values((24, 8))),
        "big.weight": bf16(values((256, 384)) * 100),
        "zeros.weight": bf16(np.zeros((4, 4))),
        "experts.up": bf16(values((3, 8, 12))),
        "odd.weight": bf16(values((6, 8))),
        "norm.weight": bf16(values(8)),
    }
    (tmp_path / "arch.json").write_text(json.dumps(RULES))
    return write_checkpoint(tmp_path / "source", CONFIG, {"a.safetensors": tensors}), tensors


def convert(shardwise, tmp_path, folder, *options):
    return shardwise.run("convert", folder, f"--arch={tmp_path / 'arch.json'}", f"--out={tmp_path / 'out'}", *options)


def test_q_of_a_fused_matrix_is_quantized_and_k_and_v_are_not(shardwise, tmp_path, source):
    folder, tensors = source
    result = convert(shardwise, tmp_path, folder, "--quantize=q_proj.weight", "--quantize-block=4x4")
    assert result.returncode == 0, result.stderr
    out = read_file(tmp_path / "out/model.safetensors")
    fused = tensors["qkv_proj.weight"].array
    q, k, v = np.split(fused, 3)
    codes, scales = quantized(numbers(Tensor("BF16", rope(q, 2))), 4, 4)
    assert out["q_proj.weight"].dtype == "F8_E4M3" and np.array_equal(out["q_proj.weight"].array, codes)
    assert out["q_proj.weight_scale_inv"].dtype == "F32"
    assert np.array_equal(out["q_proj.weight_scale_inv"].array.view(np.float32), scales[0])
    assert np.array_equal(out["k_proj.weight"].array, rope(k, 2)) and np.array_equal(out["v_proj.weight"].array, v)
    rest = {name for name in tensors if name != "qkv_proj.weight"}
    assert out.keys() == rest | {"q_proj.weight", "q_proj.weight_scale_inv", "k_proj.weight", "v_proj.weight"}
    for name in rest:
        assert np.array_equal(out[name].array, tensors[name].array), name


def test_whatever_can_be_is_quantized_split_over_files_and_loads_cut_with_its_scales(shardwise, tmp_path, source):
    folder, tensors = source
    result = convert(shardwise, tmp_path, folder, "--quantize=*", "--quantize-block=4x4", "--max-shard-size=30kB")
    assert result.returncode == 0, result.stderr
    assert "not quantized, because they are no matrices of whole blocks: " in result.stdout
    out = read_folder(tmp_path / "out")
    assert {"norm.weight", "odd.weight"} == {name for name, tensor in out.items() if tensor.dtype == "BF16"}
    for name in ("big.weight", "zeros.weight", "experts.up"):
        codes, scales = quantized(numbers(tensors[name]), 4, 4)
        assert np.array_equal(out[name].array, codes), name
        held = out[f"{name}_scale_inv"]
        assert np.array_equal(held.array.view(np.float32), scales if scales.shape[0] > 1 else scales[0]), name
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["quantization_config"] == {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [4, 4],
        "modules_to_not_convert": ["odd"],
    }
    assert {key: config[key] for key in CONFIG} == CONFIG

    load = ["load", tmp_path / "out", f"--arch={tmp_path / 'arch.json'}", "--include=big*", "--verify"]
    shardwise.check(*load, f"--out={tmp_path / 'kept'}", ranks=2)
    shardwise.check(*load, "--quantized=dequantize", "--dtype=BF16", f"--out={tmp_path / 'numbers'}", ranks=2)
    codes, scales = quantized(numbers(tensors["big.weight"]), 4, 4)
    whole = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * scales[0].repeat(4, 0).repeat(4, 1)
    for rank, rows in enumerate((slice(0, 128), slice(128, 256))):
        kept = read_rank(tmp_path / "kept", rank)
        assert np.array_equal(kept["big.weight"].array, codes[rows])
        own = scales[0][32 * rank : 32 * rank + 32]
        assert np.array_equal(kept["big.weight_scale_inv"].array.view(np.float32), own)
        held = read_rank(tmp_path / "numbers", rank)["big.weight"].array
        assert np.array_equal(held, whole[rows].astype(ml_dtypes.bfloat16).view(np.uint16))
        assert np.abs(numbers(Tensor("BF16", held)) - numbers(tensors["big.weight"])[rows]).max() < 0.07 * 500


@pytest.mark.parametrize(
    "options,status,words",
    [
        (["--quantize=*.nothing"], USAGE, ["--quantize *.nothing", "fits none"]),
        (["--quantize=*", "--quantize-block=4"], USAGE, ["--quantize-block 4", "128x128"]),
        (["--quantize=*", "--quantize-block=0x4"], USAGE, ["--quantize-block 0x4"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused(shardwise, tmp_path, source, options, status, words):
    assert_refused(convert(shardwise, tmp_path, source[0], *options), status, words)
    assert not (tmp_path / "out").exists()


def test_a_quantized_model_is_not_quantized_again(shardwise, tmp_path, source):
    folder, _ = source
    config = {**CONFIG, "quantization_config": {"quant_method": "fp8"}}
    (folder / "config.json").write_text(json.dumps(config))
    result = convert(shardwise, tmp_path, folder, "--quantize=big*")
    assert_refused(result, INPUT, ["--quantize", "quantization_config"])
