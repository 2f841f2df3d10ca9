"""The way back of loads that changed values: the checkpoint has the original names and files, and its tensors have the
types that ranks held, as numpy and ml_dtypes work them out of the original."""

import json
import shutil

import numpy as np
import pytest

from checkpoints import ELEMENT, Tensor, differences, read_file, read_folder, read_rank, write_checkpoint
from conftest import SOURCE
from dtype_test import VALUE
from export_test import CONFIG as ODD_CONFIG
from export_test import RULES, odd_tensors
from quantized_test import gpt_oss, llama, mixtral, numbers, plain_stays
from reference import expected_rank

INDEX = "model.safetensors.index.json"


def finite(dtype, generator, *shape):
    values = generator.normal(size=shape).astype(VALUE[dtype])
    return Tensor(dtype, values.view(ELEMENT[dtype]))


def cast(tensor, dtype):
    if tensor.dtype not in VALUE:
        return tensor
    with np.errstate(all="ignore"):
        values = tensor.array.view(VALUE[tensor.dtype]).astype(np.float32).astype(VALUE[dtype])
    return Tensor(dtype, values.view(ELEMENT[dtype]))


def with_finite_values(tensors):
    """Of the same types and shapes: of NaN every bit pattern would do."""
    random = np.random.default_rng(17)
    return {
        name: finite(tensor.dtype, random, *tensor.array.shape) if tensor.dtype in VALUE else tensor
        for name, tensor in tensors.items()
    }


def in_three_files(tensors):
    names = list(tensors)
    return {f"part-{i}.safetensors": {name: tensors[name] for name in names[i::3]} for i in range(3)}


def assert_files(out, files):
    """Files as the safetensors library reads them; every tensor begins where its elements can be seen in place."""
    assert sorted(path.name for path in out.glob("*.safetensors")) == sorted(files)
    for name, tensors in files.items():
        assert not differences(read_file(out / name), tensors)
        content = (out / name).read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        for tensor, entry in header.items():
            begin = 8 + length + entry["data_offsets"][0]
            assert begin % tensors[tensor].array.itemsize == 0, f"{tensor} begins at {begin}"
    if len(files) > 1 or (out / INDEX).exists():
        index = json.loads((out / INDEX).read_text())
        assert index["weight_map"] == {tensor: name for name, tensors in files.items() for tensor in tensors}
        size = sum(tensor.array.nbytes for tensors in files.values() for tensor in tensors.values())
        assert index["metadata"]["total_size"] == size


def load(shardwise, source, out, *options, ranks):
    shardwise.check("load", source, f"--out={out}", *options, ranks=ranks)
    return out


def export(shardwise, ranks_of, out, *options, ranks):
    return shardwise.check("export", ranks_of, f"--out={out}", *options, ranks=ranks).stdout


@pytest.mark.parametrize(
    "dtype,ranks,writers,options",
    [("F16", 1, 2, []), ("F32", 2, 1, ["--format=hdf5"]), ("BF16", 3, 2, []), ("F8_E4M3", 4, 3, ["--dp=2"])],
)
def test_tensors_cast_through_every_operation_come_back_in_that_type(
    shardwise, tmp_path, dtype, ranks, writers, options
):
    tensors = with_finite_values(odd_tensors(np.random.default_rng(3)))
    # Whole numbers go through operations, too; what is joined must be of one type.
    files = in_three_files(tensors)
    rules = tmp_path / "odd.json"
    rules.write_text(json.dumps(RULES))
    source = write_checkpoint(tmp_path / "source", {**ODD_CONFIG, "torch_dtype": "bfloat16"}, files)
    load(shardwise, source, tmp_path / "ranks", f"--arch={rules}", f"--dtype={dtype}", *options, ranks=ranks)
    shutil.rmtree(source)
    rules.unlink()
    text = export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=writers)
    assert "left out, because no rule or choice loads them: inv_freq\n" in text
    expected = {
        file: {name: cast(tensor, dtype) for name, tensor in tensors.items() if name != "inv_freq"}
        for file, tensors in files.items()
    }
    assert_files(tmp_path / "out", expected)
    name_of_type = {"F16": "float16", "F32": "float32", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn"}[dtype]
    assert json.loads((tmp_path / "out/config.json").read_text()) == {**ODD_CONFIG, "torch_dtype": name_of_type}


def test_what_an_architecture_keeps_in_32_bits_comes_back_so(shardwise, tmp_path):
    """Odd sizes: written in the old order, the 32-bit tensors would begin in the middle of an element."""
    random = np.random.default_rng(4)
    layer = "model.layers.0."
    tensors = {
        layer + "input_layernorm.weight": finite("BF16", random, 7),
        layer + "mlp.down_proj.weight": finite("BF16", random, 7, 9),
        layer + "post_attention_layernorm.weight": finite("BF16", random, 7),
        layer + "mlp.counts": Tensor("U8", np.arange(5, dtype=np.uint8)),
    }
    description = json.loads((SOURCE / "configs/llama.json").read_text())
    description["keep_in_fp32"] = {"float16": ["_*norm.w"]}
    (tmp_path / "own.json").write_text(json.dumps(description))
    config = {"model_type": "llama", "text_config": {"dtype": "bfloat16", "n": 1}, "z": [1e-05, "ü"]}
    source = write_checkpoint(tmp_path / "source", config, {"model.safetensors": tensors})
    own = f"--arch={tmp_path / 'own.json'}"
    load(shardwise, source, tmp_path / "ranks", own, "--dtype=F16", ranks=2)
    export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=1)
    expected = {name: cast(tensor, "F32" if "norm" in name else "F16") for name, tensor in tensors.items()}
    assert_files(tmp_path / "out", {"model.safetensors": expected})
    changed = json.loads((tmp_path / "out/config.json").read_text())
    assert changed == {**config, "text_config": {"dtype": "float16", "n": 1}, "dtype": "float16"}
    assert list(changed) == [*config, "dtype"]


def test_a_type_that_changes_nothing_leaves_all_bytes_alone(shardwise, tiny, tmp_path):
    load(shardwise, tiny, tmp_path / "ranks", "--dtype=BF16", ranks=2)
    export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=2)
    assert_files(tmp_path / "out", {path.name: read_file(path) for path in tiny.glob("*.safetensors")})
    assert (tmp_path / "out/config.json").read_bytes() == (tiny / "config.json").read_bytes()


QUANTIZED = {"quant_method": "fp8", "weight_block_size": [32, 32]}


def quantized_source(model, folder):
    model.config = {"torch_dtype": "bfloat16", "quantization_config": QUANTIZED, **model.config}
    return model.write(folder)


def plain_files(model, source, dtype_of):
    """The numbers of each tensor of codes in the file where the codes were; no scales."""
    files = {}
    for path in sorted(source.glob("*.safetensors")):
        tensors = {}
        for stored in read_file(path):
            name = stored.removesuffix("_blocks")
            if name in model.values:
                tensors[name] = numbers(model.values[name], dtype_of(name))
        files[path.name] = tensors
    return {name: tensors for name, tensors in files.items() if tensors}  # a file of scales alone is gone


DEQUANTIZED = [
    (llama, 1, "tp", 1, []),
    (llama, 2, "tp", 3, ["--strategy=direct"]),
    (llama, 3, "tp", 2, ["--format=hdf5"]),
    (mixtral, 1, "tp", 2, []),
    (mixtral, 2, "tp", 1, []),
    (mixtral, 3, "tp", 3, []),
    (gpt_oss, 1, "tp", 1, []),
    (gpt_oss, 2, "ep", 3, []),
    (gpt_oss, 3, "ep", 2, ["--strategy=cooperative"]),
]


@pytest.mark.parametrize("make,ranks,plan,writers,options", DEQUANTIZED)
def test_dequantized_tensors_come_back_as_plain_numbers(shardwise, tmp_path, make, ranks, plan, writers, options):
    model = make()
    source = quantized_source(model, tmp_path / "source")
    expected = plain_files(model, source, plain_stays)
    options = ["--quantized=dequantize", f"--plan={plan}", *options]
    load(shardwise, source, tmp_path / "ranks", *options, ranks=ranks)
    shutil.rmtree(source)
    text = export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=writers)
    assert ("input_scale" in text) == (make is llama) and "scale_inv" not in text and "_scales" not in text
    assert_files(tmp_path / "out", expected)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config == {key: value for key, value in model.config.items() if key != "quantization_config"}

    load(shardwise, tmp_path / "out", tmp_path / "again", "--plan=" + plan, "--verify", ranks=2)
    model.assert_held(tmp_path / "again", 2, 1, plain_stays, plan)


def test_dequantized_in_the_type_that_was_asked_for(shardwise, tmp_path):
    model = mixtral()
    source = quantized_source(model, tmp_path / "source")
    load(shardwise, source, tmp_path / "ranks", "--quantized=dequantize", "--dtype=F32", ranks=3)
    export(shardwise, tmp_path / "ranks", tmp_path / "out", "--max-shard-size=30kB", ranks=2)
    ours = read_folder(tmp_path / "out")
    assert not differences(ours, {name: numbers(values, "F32") for name, values in model.values.items()})
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 3
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["torch_dtype"] == "float32" and "quantization_config" not in config


def test_codes_that_were_kept_come_back_with_their_scales(shardwise, tmp_path):
    """Nothing is dequantized by --dtype alone, so config.json still says how the model is quantized."""
    model = llama()
    source = quantized_source(model, tmp_path / "source")
    load(shardwise, source, tmp_path / "ranks", "--dtype=F16", ranks=3)
    export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=2)
    layer = "model.layers.0."
    casts = {layer + "input_layernorm.weight", "model.embed_tokens.weight"}
    expected = {
        path.name: {name: cast(t, "F16") if name in casts else t for name, t in read_file(path).items()}
        for path in source.glob("*.safetensors")
    }
    assert_files(tmp_path / "out", expected)
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config == {**model.config, "torch_dtype": "float16"}


def test_what_was_left_out_of_a_dequantized_load_stays_out(shardwise, tmp_path):
    model = llama()
    source = quantized_source(model, tmp_path / "source")
    load(shardwise, source, tmp_path / "ranks", "--quantized=dequantize", "--exclude=*self_attn*", ranks=2)
    text = export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=2)
    left = {name for name in model.values if "self_attn" not in name}
    ours = read_folder(tmp_path / "out")
    assert not differences(ours, {name: numbers(model.values[name], plain_stays(name)) for name in left})
    (line,) = [line for line in text.splitlines() if "left out" in line]
    assert set(line.split(": ", 1)[1].split(", ")) == {
        name for name in model.stored if "self_attn" in name or name.endswith("input_scale")
    }


def test_an_exported_cast_loads_as_any_checkpoint(shardwise, tmp_path):
    random = np.random.default_rng(8)
    stored, config = {}, {"model_type": "mixtral", "num_attention_heads": 4, "num_local_experts": 3}
    for expert in range(3):
        at = f"model.layers.0.block_sparse_moe.experts.{expert}."
        for name, shape, dtype in [("w1", (30, 16), "F32"), ("w2", (16, 30), "BF16"), ("w3", (30, 16), "F16")]:
            stored[f"{at}{name}.weight"] = finite(dtype, random, *shape)
    source = write_checkpoint(tmp_path / "source", config, {"model.safetensors": stored})
    load(shardwise, source, tmp_path / "ranks", "--dtype=BF16", ranks=3)
    export(shardwise, tmp_path / "ranks", tmp_path / "out", ranks=2)
    whole = {name: cast(tensor, "BF16") for name, tensor in stored.items()}
    assert_files(tmp_path / "out", {"model.safetensors": whole})
    load(shardwise, tmp_path / "out", tmp_path / "again", ranks=2)  # without --dtype they could not be joined before
    for rank in range(2):
        assert not differences(read_rank(tmp_path / "again", rank), expected_rank(config, whole, rank, 2))
