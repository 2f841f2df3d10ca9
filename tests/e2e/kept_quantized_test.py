"""Quantized checkpoints held as they are stored: scales go through every operation and every cut with their codes.
Expected arrays are numpy's, and on every rank codes times the scales beside them are the cut of the numbers."""

import json
import shutil

import ml_dtypes
import numpy as np
import pytest

from checkpoints import Tensor, differences, read_file, read_rank, write_checkpoint
from quantized_test import SCALE, Model, gpt_oss
from quantized_test import numbers as rounded
from reference import ceil_piece, packed_piece
from refusal import INPUT, assert_refused, load

AT = "model.layers.1.mlp."
SCALES = "_scale_inv"


def numbers(codes, scales):
    """Codes times scales; of any shapes that fall into whole blocks."""
    kind, _ = SCALE[scales.dtype]
    blocks = scales.array.view(kind).astype(np.float32)
    for axis, (extent, size) in enumerate(zip(blocks.shape, codes.array.shape, strict=True)):
        blocks = np.repeat(blocks, size // extent, axis)
    return codes.array.view(ml_dtypes.float8_e4m3fn).astype(np.float32) * blocks


def deepseek():
    """An expert layer in blocks of 32 x 32."""
    model = Model("deepseek_v3", n_routed_experts=4, num_hidden_layers=2, quantization_config={"quant_method": "fp8"})
    model.fp8("model.layers.1.self_attn.q_a_proj.weight", (96, 64), (3, 2))
    for part in ("shared_experts.", *(f"experts.{number}." for number in range(4))):
        model.fp8(f"{AT}{part}gate_proj.weight", (192, 64), (6, 2))
        model.fp8(f"{AT}{part}up_proj.weight", (192, 64), (6, 2))
        model.fp8(f"{AT}{part}down_proj.weight", (64, 192), (2, 6))
    model.plain(AT + "gate.weight", 4, 64)
    return model


def add_ragged(model):
    """As the real one has it: 72 rows in blocks of 16, the last one short. Nothing cuts it under plan tp."""
    name = "model.layers.1.self_attn.kv_a_proj_with_mqa.weight"
    model.stored[name] = Tensor("F8_E4M3", np.arange(72 * 64).astype(np.uint8).reshape(72, 64))
    model.stored[name + SCALES] = Tensor("F32", np.arange(10, dtype=np.uint32).reshape(5, 2))
    return name


def merged(tensors):
    """Gate rows before up rows, experts stacked; codes and scales alike."""
    held = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for ending, dtype in (("", "F8_E4M3"), (SCALES, "F32")):
        gate, up, down = (
            np.stack([tensors[f"{AT}experts.{i}.{role}.weight{ending}"].array for i in range(4)])
            for role in ("gate_proj", "up_proj", "down_proj")
        )
        held[f"{AT}experts.gate_up_proj{ending}"] = Tensor(dtype, np.concatenate([gate, up], 1))
        held[f"{AT}experts.down_proj{ending}"] = Tensor(dtype, down)
    return held


def deepseek_piece(name, array, plan, rank, ranks):
    name = name.removesuffix(SCALES).removesuffix(".weight")
    if ".experts." in name and plan == "ep":
        return ceil_piece(array, 0, rank, ranks)
    if name.endswith("gate_up_proj"):
        return packed_piece(array, 1, [array.shape[1] // 2] * 2, rank, ranks)
    if name.endswith("down_proj"):
        return ceil_piece(array, array.ndim - 1, rank, ranks)
    return ceil_piece(array, 0, rank, ranks) if name.endswith(("gate_proj", "up_proj")) else array


def assert_codes_times_scales(held, piece_of_numbers):
    """@param piece_of_numbers function of a name of codes."""
    for name in held:
        if name + SCALES in held and 0 not in held[name].array.shape:
            assert numbers(held[name], held[name + SCALES]).tobytes() == piece_of_numbers(name).tobytes(), name


DEEPSEEK = [
    (1, 1, "tp", []),
    (2, 1, "tp", ["--strategy=direct", "--io=pread"]),
    (3, 1, "tp", ["--strategy=cooperative", "--transport=mpi"]),
    (6, 1, "tp", []),
    (3, 1, "ep", []),
    (2, 3, "tp", ["--fsdp=3", "--exclude=*shared_experts.down_proj*"]),  # 64 rows in 3 parts cut blocks of 32
    (2, 3, "ep", ["--fsdp=3", "--ep=6", "--exclude=*shared_experts.down_proj*"]),
]


@pytest.mark.parametrize("tp,fsdp,plan,options", DEEPSEEK)
def test_scales_of_experts_are_merged_and_cut_with_their_codes(shardwise, tmp_path, tp, fsdp, plan, options):
    model = deepseek()
    checkpoint = model.write(tmp_path / "checkpoint")
    options = [f"--tp={tp}", f"--plan={plan}", "--verify", f"--out={tmp_path / 'out'}", *options]
    shardwise.check("load", checkpoint, *options, ranks=tp * fsdp)
    whole = merged(model.stored)

    def piece(rank, name, array):
        if plan == "ep" and ".experts." in name:
            return ceil_piece(array, 0, rank, tp * fsdp)
        return ceil_piece(deepseek_piece(name, array, plan, rank % tp, tp), 0, rank // tp, fsdp)

    excluded = "shared_experts.down_proj" if fsdp == 3 else "none"
    for rank in range(tp * fsdp):
        held = read_rank(tmp_path / "out", rank)
        expected = {
            name: Tensor(tensor.dtype, piece(rank, name, tensor.array))
            for name, tensor in whole.items()
            if excluded not in name
        }
        assert not differences(held, expected)
        assert_codes_times_scales(
            held, lambda name: piece(rank, name, numbers(whole[name], whole[name + SCALES]))
        )


def test_blocks_that_are_not_whole_are_kept_where_nothing_cuts_them(shardwise, tmp_path):
    model = deepseek()
    name = add_ragged(model)
    checkpoint = model.write(tmp_path / "checkpoint")
    shardwise.check("load", checkpoint, f"--out={tmp_path / 'out'}", ranks=2)
    for rank in range(2):
        held = read_rank(tmp_path / "out", rank)
        assert not differences({n: held[n] for n in (name, name + SCALES)},
                               {n: model.stored[n] for n in (name, name + SCALES)})
    assert_refused(load(shardwise, checkpoint, "--fsdp=2"), INPUT, [name, "[72, 64]", "[5, 2]"])


def test_a_border_through_a_block_of_merged_experts_is_refused(shardwise, tmp_path):
    """192 rows of gate on 4 ranks: pieces of 48."""
    result = shardwise.run("load", deepseek().write(tmp_path / "checkpoint"), ranks=4)
    assert_refused(result, INPUT, ["experts.", SCALES, "pieces of 48", "blocks of 32", "dequantize"])


def test_stated_blocks_are_cut_where_they_end_not_where_their_number_would_fit(shardwise, tmp_path):
    """72 rows on 3 ranks with 3 rows of scales: blocks are of 32 rows all the same, and the last one of 8."""
    model = Model("llama", quantization_config={"quant_method": "fp8", "weight_block_size": [32, 32]})
    model.fp8("model.layers.0.self_attn.q_proj.weight", (72, 64), (3, 2), block=(32, 32))
    checkpoint = model.write(tmp_path / "checkpoint")
    result = shardwise.run("load", checkpoint, ranks=3)
    assert_refused(result, INPUT, ["q_proj.weight", "[72, 64]", "[3, 2]", "whole blocks"])
    shardwise.check("load", checkpoint, f"--out={tmp_path / 'one'}", ranks=1)
    held = read_rank(tmp_path / "one", 0)
    assert all(np.array_equal(held[name].array, tensor.array) for name, tensor in model.stored.items())


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_what_was_kept_goes_back_byte_for_byte(shardwise, tmp_path, ranks):
    model = deepseek()
    add_ragged(model)
    source = model.write(tmp_path / "source")
    files = {path.name: read_file(path) for path in source.glob("*.safetensors")}
    shardwise.check("load", source, f"--out={tmp_path / 'ranks'}", ranks=ranks)
    config = (source / "config.json").read_bytes()
    shutil.rmtree(source)
    shardwise.check("export", tmp_path / "ranks", f"--out={tmp_path / 'out'}", ranks=2)
    for name, tensors in files.items():
        assert not differences(read_file(tmp_path / "out" / name), tensors)
    assert (tmp_path / "out/config.json").read_bytes() == config


# Every operation over codes, with the shapes of codes and scales.
RULES = {
    "family": "odd",
    "model_types": ["odd"],
    "base": "model",
    "transforms": [
        {"convert": "qkv.weight", "to": ["q.weight", "k.weight", "v.weight"], "ops": [{"op": "Chunk", "dim": 0}]},
        {"convert": "fused.weight", "to": ["a.weight", "b.weight"],
         "ops": [{"op": "Split", "dim": 0, "sizes": ["96", "32"]}]},
        {"convert": "flat.weight", "to": "turned.weight", "ops": [{"op": "Transpose", "dim0": 0, "dim1": 1}]},
        {"convert": "rows.weight", "to": "mixed.weight", "ops": [{"op": "Interleave", "dim": 0}]},
        {"convert": "rope.weight", "to": "heads.weight", "ops": [{"op": "PermuteForRope", "heads": "2"}]},
        {"convert": "bank.weight", "to": "banks.*.weight", "ops": [{"op": "SplitModulelist", "dim": 0}]},
        {"convert": ["left.weight", "right.weight"], "to": "both.weight", "ops": [{"op": "Concatenate", "dim": 1}]},
        {"convert": ["one.*.w1.weight", "one.*.w3.weight"], "to": "ones",
         "ops": [{"op": "MergeModulelist", "dim": 0}, {"op": "Concatenate", "dim": 1}]},
        {"rename": r"\bold\.weight$", "to": "new.weight"},
    ],
    "plans": {"tp": {"base": {
        "q": "colwise", "k": "rowwise", "v": "colwise", "a": "colwise", "turned": "colwise", "mixed": "colwise",
        "heads": "rowwise", "banks.*": "colwise", "both": {"packed": {"dim": 1, "blocks": ["64", "32"]}},
        "ones": "packed_colwise", "new": "colwise",
    }}},
}  # fmt: skip


def odd():
    model = Model("odd", hidden_size=64)
    at = "model."
    model.fp8(at + "qkv.weight", (192, 64), (6, 2))
    model.fp8(at + "fused.weight", (128, 64), (4, 2))
    model.fp8(at + "flat.weight", (64, 96), (2, 6))
    model.fp8(at + "rows.weight", (48, 20), (48, 1))
    model.fp8(at + "rope.weight", (64, 32), (1, 2))
    model.fp8(at + "bank.weight", (3, 64, 32), (3, 4, 1))
    model.fp8(at + "left.weight", (16, 64), (1, 4))
    model.fp8(at + "right.weight", (16, 32), (1, 2))
    for expert in range(3):
        model.fp8(f"{at}one.{expert}.w1.weight", (10, 12), ())
        model.fp8(f"{at}one.{expert}.w3.weight", (10, 12), ())
    model.fp8(at + "old.weight", (64, 32), (2, 1))
    return model


def odd_whole(model):
    """Numbers of every parameter, and the shape of its scales."""
    v = {name.removeprefix("model.").removesuffix(".weight"): values for name, values in model.values.items()}
    q, k, w = np.split(v["qkv"], 3)
    rope = v["rope"].reshape(2, 16, 2, 32).swapaxes(1, 2).reshape(64, 32)
    gate, up = (np.stack([v[f"one.{i}.{role}"] for i in range(3)]) for role in ("w1", "w3"))
    return {
        "q.weight": (q, (2, 2)), "k.weight": (k, (2, 2)), "v.weight": (w, (2, 2)),
        "a.weight": (v["fused"][:96], (3, 2)), "b.weight": (v["fused"][96:], (1, 2)),
        "turned.weight": (v["flat"].T, (6, 2)),
        "mixed.weight": (np.concatenate([v["rows"][::2], v["rows"][1::2]]), (48, 1)),
        "heads.weight": (rope, (1, 2)),
        **{f"banks.{i}.weight": (v["bank"][i], (4, 1)) for i in range(3)},
        "both.weight": (np.concatenate([v["left"], v["right"]], 1), (1, 6)),
        "ones": (np.concatenate([gate, up], 1), (3, 2, 1)),
        "new.weight": (v["old"], (2, 1)),
    }  # fmt: skip


def odd_piece(name, array, rank, ranks):
    if name == "ones":
        return packed_piece(array, 1, [array.shape[1] // 2] * 2, rank, ranks)
    if name == "both.weight":
        return packed_piece(array, 1, [array.shape[1] * 2 // 3, array.shape[1] // 3], rank, ranks)
    if name in ("k.weight", "heads.weight"):
        return ceil_piece(array, 1, rank, ranks)
    return array if name == "b.weight" else ceil_piece(array, 0, rank, ranks)


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(RULES))
    return path


@pytest.mark.parametrize("ranks,options", [(1, []), (2, []), (2, ["--strategy=cooperative", "--transport=mpi"])])
def test_scales_go_through_every_operation(shardwise, rules, tmp_path, ranks, options):
    model = odd()
    # Three parts of turned and a, and of the rows of one scale each, come out even in blocks; two do not.
    excluded = ["--exclude=model.a.*"] if ranks == 2 else []
    checkpoint = model.write(tmp_path / "checkpoint")
    options = [f"--arch={rules}", "--verify", f"--out={tmp_path / 'out'}", *excluded, *options]
    shardwise.check("load", checkpoint, *options, ranks=ranks)
    for rank in range(ranks):
        held = {name.removeprefix("model."): tensor for name, tensor in read_rank(tmp_path / "out", rank).items()}
        wanted = {name: of for name, of in odd_whole(model).items() if not (excluded and name == "a.weight")}
        assert held.keys() == {name + ending for name in wanted for ending in ("", SCALES)}
        for name, (values, grid) in wanted.items():
            assert ranks > 1 or held[name + SCALES].array.shape == grid, name
            assert numbers(held[name], held[name + SCALES]).tobytes() == odd_piece(name, values, rank, ranks).tobytes()


REFUSED = {
    "part": ({"qkv": ((96, 64), (2, 2))}, ["model.k.weight", "slice [32, 64)", "blocks of 48"]),
    "interleave": ({"rows": ((48, 20), (3, 1))}, ["model.mixed.weight", "groups of 48", "blocks of 16"]),
    "rope": ({"rope": ((64, 32), (4, 2))}, ["model.heads.weight", "groups of 32", "blocks of 16"]),
    "join": (
        {"left": ((16, 64), (1, 4)), "right": ((16, 32), (2, 2))},
        ["model.both.weight", "blocks of [16, 16] and of [8, 16]"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_operations_that_mix_blocks_are_refused_by_name(shardwise, rules, tmp_path, case):
    tensors, words = REFUSED[case]
    model = Model("odd", hidden_size=64)
    for name, (shape, grid) in tensors.items():
        model.fp8(f"model.{name}.weight", shape, grid)
    result = load(shardwise, model.write(tmp_path / "checkpoint"), f"--arch={rules}")
    assert_refused(result, INPUT, [*words, "--quantized dequantize"])
    shardwise.check("load", tmp_path / "checkpoint", f"--arch={rules}", "--quantized=dequantize", ranks=2)


def test_scales_that_make_no_blocks_cannot_be_converted(shardwise, rules, tmp_path):
    model = Model("odd", hidden_size=64)
    model.fp8("model.qkv.weight", (192, 64), (6, 2))
    model.stored["model.qkv.weight_scale_inv"] = Tensor("F32", np.zeros((5, 2), np.uint32))
    result = load(shardwise, model.write(tmp_path / "checkpoint"), f"--arch={rules}")
    assert_refused(result, INPUT, ["model.q.weight", "[5, 2]", "[192, 64]", "--quantized dequantize"])


@pytest.mark.parametrize("ending,words", [(None, ["has no scales"]), ("_scale", ["end in _scale_inv", "in _scale"])])
def test_codes_of_one_parameter_need_scales_of_one_kind(shardwise, rules, tmp_path, ending, words):
    model = Model("odd", hidden_size=64)
    model.fp8("model.left.weight", (16, 64), (1, 4))
    model.fp8("model.right.weight", (16, 32), (1, 2))
    scales = model.stored.pop("model.right.weight_scale_inv")
    if ending:
        model.stored["model.right.weight" + ending] = scales
    result = load(shardwise, model.write(tmp_path / "checkpoint"), f"--arch={rules}")
    assert_refused(result, INPUT, ["model.both.weight", "model.right.weight", *words])


def test_scales_in_place_of_a_weight_follow_it(shardwise, tmp_path):
    """M.scale of M.weight: under that name as long as the weight is one, and as the framework calls it when merged."""
    model = deepseek()
    for name in [name for name in model.stored if name.endswith(SCALES)]:
        model.stored[name.removesuffix(".weight" + SCALES) + ".scale"] = model.stored.pop(name)
    checkpoint = model.write(tmp_path / "checkpoint")
    shardwise.check("load", checkpoint, f"--out={tmp_path / 'out'}", ranks=2)
    whole = merged(deepseek().stored)
    held = read_rank(tmp_path / "out", 1)
    for name, tensor in whole.items():
        is_merged = ".experts." in name
        own = name if is_merged else name.replace(".weight" + SCALES, ".scale")
        part = Tensor(tensor.dtype, deepseek_piece(name, tensor.array, "tp", 1, 2))
        assert not differences({own: held.pop(own)}, {own: part})
    assert not held


# A plan that cuts experts of MXFP4 along both dimensions of the layout that the framework holds, (experts, in, out).
MORE_RULES = {
    "family": "more",
    "model_types": [],
    "plans": {"tp": {"base": {
        "layers.*.mlp.experts.gate_up_proj": {"shard": 2},
        "layers.*.mlp.experts.down_proj": {"shard": 1},
    }}},
}  # fmt: skip
EXPERTS = "model.layers.0.mlp.experts."


@pytest.fixture
def cut_rules(tmp_path):
    path = tmp_path / "more.json"
    path.write_text(json.dumps(MORE_RULES))
    return f"--rules={path}"


def mxfp4_piece(name, array, plan, rank, ranks):
    """Of the stored layout: (experts, out, groups of 32 in, 16 bytes) and its scales."""
    if plan == "ep":
        return ceil_piece(array, 0, rank, ranks)
    if plan == "tp" or name.endswith("bias"):
        return array
    return ceil_piece(array, 1 if "gate_up" in name else 2, rank, ranks)


@pytest.mark.parametrize(
    "ranks,plan,options",
    [
        (2, "tp", []),
        (3, "ep", []),
        (2, "ep", ["--strategy=cooperative"]),
        (5, "cut", ["--strategy=direct"]),
        (5, "cut", ["--strategy=cooperative", "--transport=mpi"]),
        (1, "cut", []),
    ],
)
def test_blocks_and_scales_of_mxfp4_are_cut_in_step(shardwise, cut_rules, tmp_path, ranks, plan, options):
    model = gpt_oss()
    checkpoint = model.write(tmp_path / "checkpoint")
    options = [*options, cut_rules] if plan == "cut" else [*options, f"--plan={plan}"]
    shardwise.check("load", checkpoint, "--verify", f"--out={tmp_path / 'out'}", *options, ranks=ranks)
    for rank in range(ranks):
        expected = {
            name: Tensor(tensor.dtype, mxfp4_piece(name, tensor.array, plan, rank, ranks))
            for name, tensor in model.stored.items()
        }
        assert not differences(read_rank(tmp_path / "out", rank), expected)
    shardwise.check("export", tmp_path / "out", f"--out={tmp_path / 'back'}", ranks=2)
    for path in checkpoint.glob("*.safetensors"):
        assert not differences(read_file(tmp_path / "back" / path.name), read_file(path))


def test_a_border_through_blocks_of_mxfp4_is_refused(shardwise, cut_rules, tmp_path):
    """160 numbers in on 2 ranks: pieces of 80."""
    result = load(shardwise, gpt_oss().write(tmp_path / "checkpoint"), cut_rules)
    assert_refused(result, INPUT, [EXPERTS + "down_proj", "pieces of 80", "blocks of 32", "dequantize"])


@pytest.mark.parametrize("ranks,options", [(2, []), (3, ["--strategy=cooperative"]), (5, ["--strategy=direct"])])
def test_dequantized_mxfp4_is_cut_anywhere_in_the_layout_that_is_held(shardwise, cut_rules, tmp_path, ranks, options):
    model = gpt_oss()
    checkpoint = model.write(tmp_path / "checkpoint")
    options = [*options, cut_rules, "--quantized=dequantize", "--verify", f"--out={tmp_path / 'out'}"]
    shardwise.check("load", checkpoint, *options, ranks=ranks)
    for rank in range(ranks):
        expected = {EXPERTS + "down_proj_bias": rounded(model.values[EXPERTS + "down_proj_bias"], "F32")}
        for name, dim in ((EXPERTS + "gate_up_proj", 2), (EXPERTS + "down_proj", 1)):
            expected[name] = rounded(ceil_piece(model.values[name], dim, rank, ranks), "BF16")
        assert not differences(read_rank(tmp_path / "out", rank), expected)


def test_scales_that_are_not_one_a_block_of_mxfp4_are_refused(shardwise, cut_rules, tmp_path):
    model = gpt_oss()
    model.stored[EXPERTS + "down_proj_scales"] = Tensor("U8", np.zeros((4, 64, 4), np.uint8))
    result = load(shardwise, model.write(tmp_path / "checkpoint"))
    assert_refused(result, INPUT, [EXPERTS + "down_proj_scales", "[4, 64, 4]", "[4, 64, 5, 16]"])
