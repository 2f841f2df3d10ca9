"""Parameters that share their values. By patterns and modules: what is tied to what was recorded from transformers
(tests/oracle/ties.py); with --oracle it is recorded anew. By names: the values of every rank in each of the cases that
a checkpoint may leave."""

import gzip
import json
import os
import subprocess

import numpy as np
import pytest

from checkpoints import random_tensor, read_rank, write_checkpoint
from conftest import SOURCE

RECORD = SOURCE / "tests/fixtures/ties.json.gz"
RECORDED = json.loads(gzip.decompress(RECORD.read_bytes()))
PYTHON = os.environ.get("SHARDWISE_ORACLE_PYTHON")


def last_source(expanded, name):
    while name in expanded:
        name = expanded[name]
    return name


@pytest.mark.parametrize("stored_are", ["sources", "dependents"])
@pytest.mark.parametrize("model_class", RECORDED)
def test_patterns_and_modules_tie_what_the_framework_ties(shardwise, tmp_path, model_class, stored_are):
    """Of each parameter and those tied to it one is stored: the source, or the last dependent."""
    recorded = RECORDED[model_class]
    source_of = {name: last_source(recorded["expanded"], name) for name in recorded["expanded"]}
    holder_of = {source: source for source in source_of.values()}
    if stored_are == "dependents":
        holder_of = {source: name for name, source in sorted(source_of.items())}
    tied = {name: holder_of[source] for name, source in source_of.items()} | holder_of
    expected = {name: holder for name, holder in tied.items() if name != holder}
    random = np.random.default_rng(3)
    stored = {name: random_tensor(random, "BF16", 2) for name in recorded["names"] if name not in expected}
    write_checkpoint(tmp_path / "model", {"model_type": "mine"}, {"model.safetensors": stored})
    (tmp_path / "mine.json").write_text(json.dumps({
        "family": "mine", "model_types": [], "plans": {"tp": {}},
        "tied": [{dependent: source} for dependent, source in recorded["tied"]]}))
    (tmp_path / "expected.json").write_text(json.dumps({name: {} for name in recorded["names"]}))
    shardwise.check("load", tmp_path / "model", f"--arch={tmp_path / 'mine.json'}", "--strict",
                    f"--expect={tmp_path / 'expected.json'}", f"--out={tmp_path / 'out'}", ranks=1)
    assert json.loads((tmp_path / "out/shardwise.json").read_text())["tied"] == expected


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 7, "hidden_size": 4,
          "num_hidden_layers": 0, "num_attention_heads": 2, "intermediate_size": 4, "tie_word_embeddings": True}


@pytest.mark.parametrize("names,same,missing", [
    ([EMBEDDING], True, []), ([HEAD], True, []), ([EMBEDDING, HEAD], True, []), ([EMBEDDING, HEAD], False, []),
    ([], True, [HEAD, EMBEDDING]),
], ids=["only the source", "only the dependent", "both and equal", "both and different", "neither"])
def test_each_rank_has_its_rows_of_what_is_stored(shardwise, tmp_path, names, same, missing):
    random = np.random.default_rng(4)
    tensors = {name: random_tensor(np.random.default_rng(1) if same else random, "BF16", 7, 4) for name in names}
    tensors["model.norm.weight"] = random_tensor(random, "BF16", 4)
    write_checkpoint(tmp_path / "model", CONFIG, {"model.safetensors": tensors})
    shardwise.check("load", tmp_path / "model", f"--out={tmp_path / 'out'}", f"--stats={tmp_path / 's.json'}", ranks=2)
    assert json.loads((tmp_path / "s.json").read_text())["differences"]["missing"] == missing
    tied = json.loads((tmp_path / "out/shardwise.json").read_text())["tied"]
    assert tied == ({({HEAD, EMBEDDING} - {names[0]}).pop(): names[0]} if len(names) == 1 else {})
    for rank, rows in enumerate((slice(0, 4), slice(4, 7))):
        held = read_rank(tmp_path / "out", rank)
        for name in names:
            assert (held[name].array == tensors[name].array[rows]).all()


def test_what_config_json_unties_is_missing(shardwise, tmp_path):
    tensors = {EMBEDDING: random_tensor(np.random.default_rng(1), "BF16", 7, 4),
               "model.norm.weight": random_tensor(np.random.default_rng(1), "BF16", 4)}
    config = {**CONFIG, "tie_word_embeddings": False}
    write_checkpoint(tmp_path / "model", config, {"model.safetensors": tensors})
    result = shardwise.run("plan", tmp_path / "model", "--tp=2", "--strict")
    assert result.returncode == 3
    assert "1 expected parameter(s) are missing: lm_head.weight" in result.stderr


def test_the_record_is_the_installed_frameworks(tmp_path):
    if not PYTHON:
        pytest.skip("launch/test --oracle installs transformers and runs this")
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}
    command = [PYTHON, SOURCE / "tests/oracle/ties.py", tmp_path / "new.json.gz"]
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)
    assert done.returncode == 0, done.stderr
    assert json.loads(gzip.decompress((tmp_path / "new.json.gz").read_bytes())) == RECORDED
