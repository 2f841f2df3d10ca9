"""Whole models converted by one process: what comes out is what the reference makes of it, and loads again."""

import json
import shutil
import signal
import subprocess

import numpy as np
import pytest

from checkpoints import Tensor, differences, read_file, read_folder, read_rank, write_checkpoint
from conftest import environment, make_checkpoint
from export_failure_test import has_pending_file
from export_test import CONFIG, MODELS, RULES, odd_tensors, tensor_files, weight_map
from reference import whole_model
from refusal import INPUT, IO, PEER, assert_nothing_under_a_final_name, assert_refused


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_model_comes_out(shardwise, tmp_path, name):
    source = make_checkpoint(tmp_path / "source", **MODELS[name])
    result = shardwise.check("convert", source, f"--out={tmp_path / 'out'}")
    expected = whole_model(json.loads((source / "config.json").read_text()), read_folder(source))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]
    assert not differences(read_file(tmp_path / "out/model.safetensors"), expected)
    assert (tmp_path / "out/config.json").read_bytes() == (source / "config.json").read_bytes()
    assert f"converted {len(expected)} tensors" in result.stdout

    shardwise.check("load", tmp_path / "out", f"--out={tmp_path / 'ranks'}", ranks=2)
    shardwise.check("verify", tmp_path / "ranks", tmp_path / "out")


def test_the_golden_models_come_out(shardwise, golden, tmp_path):
    for model in sorted(path.parent for path in golden.glob("*/full.safetensors")):
        out = tmp_path / model.name
        shardwise.check("convert", model / "ckpt", f"--out={out}")
        assert not differences(read_file(out / "model.safetensors"), read_file(model / "full.safetensors")), model.name


def interleaved(array):
    """Pairs of neighbours of the rows to two halves."""
    return np.concatenate([array[0::2], array[1::2]])


def odd_model(tensors):
    """The parameters of export_test's rules, worked out by hand."""
    held = {"model.embed_tokens.weight": tensors["emb.weight"].array, "model.tail.x.0": tensors["t0_x"].array,
            "model.tail.x.1": tensors["t1_x"].array}
    for layer in (1, 2):
        stored = {name.removeprefix(f"layer{layer}."): tensor.array for name, tensor in tensors.items()}
        to = f"model.layers.{layer - 1}."
        for name, rows in (("q_proj", slice(0, 16)), ("k_proj", slice(16, 24)), ("v_proj", slice(24, 32))):
            held[f"{to}{name}.weight"] = stored["att.qkv.weight"][rows]
        held[f"{to}mlp.gate.weight"], held[f"{to}mlp.up.weight"] = np.split(stored["mlp.w13.weight"], 2)
        held[f"{to}mlp.down.weight"] = stored["mlp.w2.weight"].T
        held[f"{to}mix.weight"] = interleaved(stored["mix.weight"].T).T
        held[f"{to}turned.weight"] = np.concatenate([interleaved(head) for head in np.split(stored["rope.weight"], 4)])
        a, b = (np.stack([stored[f"ex.{i}.{which}.weight"] for i in range(3)]) for which in "ab")
        held[f"{to}experts.ab"] = np.concatenate([a, b], axis=1)
        held[f"{to}banks.0"], held[f"{to}banks.1"] = stored["bank"]
        held[f"{to}both"] = np.concatenate([stored["left"], stored["right"]])
        for block in range(2):
            held[f"model.stage.{layer}.block.{block}.norm.weight"] = stored[f"s{layer}_b{block}_norm_w"]
    return held


def test_every_operation_over_files_that_share_its_sources(shardwise, tmp_path):
    tensors = odd_tensors(np.random.default_rng(5))
    names = list(tensors)
    files = {f"part-{i}.safetensors": {name: tensors[name] for name in names[i::4]} for i in range(4)}
    source = write_checkpoint(tmp_path / "source", CONFIG, files)
    (tmp_path / "odd.json").write_text(json.dumps(RULES))
    arch = f"--arch={tmp_path / 'odd.json'}"
    result = shardwise.check("convert", source, arch, f"--out={tmp_path / 'out'}", "--max-shard-size=1kB")
    expected = odd_model(tensors)
    ours = read_folder(tmp_path / "out")
    assert ours.keys() == expected.keys()
    for name, array in expected.items():
        assert ours[name].array.shape == array.shape and ours[name].array.tobytes() == array.tobytes(), name
    dtypes = {tensor.dtype for tensor in ours.values()}
    assert dtypes == {"BF16", "F32", "F16", "U8", "I32"}
    assert "left out, because no rule or choice loads them: inv_freq\n" in result.stdout
    split = tensor_files(tmp_path / "out")
    assert len(split) > 5 and weight_map(tmp_path / "out") == {name: file for file in split for name in split[file]}

    # Loaded without another conversion, ranks hold what they hold of the original.
    plain = {**RULES, "transforms": []}
    (tmp_path / "plain.json").write_text(json.dumps(plain))
    shardwise.check("load", tmp_path / "out", f"--arch={tmp_path / 'plain.json'}", f"--out={tmp_path / 'a'}", ranks=3)
    shardwise.check("load", source, arch, f"--out={tmp_path / 'b'}", ranks=3)
    for rank in range(3):
        assert not differences(read_rank(tmp_path / "a", rank), read_rank(tmp_path / "b", rank))


def test_the_source_is_never_overwritten(shardwise, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "source")
    before = {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}
    for options in ([], ["--overwrite"]):
        result = shardwise.run("convert", tmp_path / "source", f"--out={tmp_path / 'source/../source'}", *options)
        assert_refused(result, INPUT, ["the folder of the checkpoint itself"])
    assert {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()} == before


def test_a_target_that_cannot_be_written_to_is_an_io_error(shardwise, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(shardwise.run("convert", tiny, f"--out={tmp_path / 'file/out'}"), IO, [str(tmp_path / "file")])


def test_a_conversion_that_is_asked_to_end_takes_its_files_away(shardwise, large, tmp_path):
    out = tmp_path / "out"
    for _ in range(5):
        with subprocess.Popen(
            shardwise.command("convert", large, f"--out={out}"), env=environment(), stderr=subprocess.PIPE, text=True
        ) as job:
            while job.poll() is None and not has_pending_file(out):
                pass
            job.send_signal(signal.SIGTERM)
            errors = job.communicate(timeout=120)[1]
        if job.returncode != 0:
            break
        shutil.rmtree(out)  # it was too quick
    assert job.returncode == PEER and "it was cancelled" in errors
    assert_nothing_under_a_final_name(out)


def peak_bytes(command):
    """Resident memory at its highest; of a process of its own, so that no other child counts."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        ["python3", "-c", script, *command], check=True, capture_output=True, text=True, env=environment()
    )
    return int(done.stdout)


def test_memory_stays_far_below_the_model(shardwise, large, tmp_path):
    size = sum(path.stat().st_size for path in large.iterdir())
    assert size > 250e6
    assert peak_bytes(shardwise.command("convert", large, f"--out={tmp_path / 'out'}")) < size / 3
