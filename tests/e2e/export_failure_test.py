"""Exports that cannot be done: all ranks say so in one line, and nothing half-written has a final name."""

import json
import os
import signal
import shutil

import pytest

from checkpoints import write_checkpoint
from conftest import make_checkpoint
from export_test import CONFIG, RULES, odd_tensors
from processes import FOLDER, NOTE_STATUS, has_open, processes_of, signal_all, statuses_of, wait_for
from refusal import (
    DEADLINE_SECONDS,
    HASTY_LAUNCHER,
    INPUT,
    IO,
    PEER,
    USAGE,
    assert_nothing_under_a_final_name,
    assert_refused,
    error_lines,
)

MANIFEST = "shardwise.json"
INDEX = "model.safetensors.index.json"
ATTEMPTS = 5


@pytest.fixture(scope="module")
def loaded(shardwise, tiny, tmp_path_factory):
    """Rank files of both formats, by tp 2."""
    folder = tmp_path_factory.mktemp("loaded")
    for format in ("safetensors", "hdf5"):
        shardwise.check("load", tiny, f"--out={folder / format}", f"--format={format}", ranks=2)
    return folder


def export(shardwise, folder, out, *options, ranks=2):
    return shardwise.run(
        "export", folder, f"--out={out}", *options, ranks=ranks, env=HASTY_LAUNCHER, timeout=DEADLINE_SECONDS
    )


def rank_file(folder, rank):
    (path,) = folder.glob(f"model-rank-{rank}-part-0.*")
    return path


def remove(folder):
    rank_file(folder, 1).unlink()


def cut(folder):
    os.truncate(rank_file(folder, 1), rank_file(folder, 1).stat().st_size - 1)


def swap(folder):
    first, second = rank_file(folder, 0), rank_file(folder, 1)
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def edit_manifest(change):
    def damage(folder):
        manifest = json.loads((folder / MANIFEST).read_text())
        change(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return damage


def change_rules(manifest):
    record = json.loads(manifest["source"]["architecture"])
    rules = json.loads(record["file"]["text"])
    rules["plans"]["tp"]["base"]["layers.*.self_attn.q_proj"] = "rowwise"
    record["file"]["text"] = json.dumps(rules)
    manifest["source"]["architecture"] = json.dumps(record)


DAMAGE = {
    "a rank file that is missing": (remove, IO, ["model-rank-1-part-0"]),
    "a rank file that is cut": (cut, None, ["model-rank-1-part-0"]),
    "rank files that changed places": (swap, INPUT, ["not the file of rank 0", "shardwise.rank is '1'"]),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), IO, [MANIFEST, "No such file"]),
    "a manifest of an older version": (
        edit_manifest(lambda m: m.pop("source")), INPUT, [MANIFEST, "the key 'source' is missing", "load again"]),
    "another source": (
        edit_manifest(lambda m: m.update(source_digest="0" * 32)),
        INPUT,
        ["shardwise.source_digest is '", "expected 000"],
    ),
    "other rules": (edit_manifest(change_rules), INPUT, [MANIFEST, "other parameters"]),
}


@pytest.mark.parametrize("format", ["safetensors", "hdf5"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_rank_files_that_are_no_complete_set_are_refused(shardwise, loaded, tmp_path, damage, format):
    shutil.copytree(loaded / format, tmp_path / "ranks")
    change, status, words = DAMAGE[damage]
    change(tmp_path / "ranks")
    if status is None:  # HDF5 finds it out by itself
        status = INPUT if format == "safetensors" else IO
    if format == "hdf5" and damage == "a rank file that is missing":
        words = ["model-rank-1-part-0.h5"]
    assert_refused(export(shardwise, tmp_path / "ranks", tmp_path / "out"), status, words)
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_rank_files_of_another_load_are_refused(shardwise, loaded, tmp_path):
    """The same shapes and another model."""
    other = make_checkpoint(tmp_path / "other", files=2)
    shutil.copytree(loaded / "safetensors", tmp_path / "ranks")
    shardwise.check("load", other, f"--out={tmp_path / 'other-ranks'}", ranks=2)
    shutil.copy(rank_file(tmp_path / "other-ranks", 1), tmp_path / "ranks")
    result = export(shardwise, tmp_path / "ranks", tmp_path / "out")
    assert_refused(result, INPUT, ["model-rank-1-part-0", "not the file of rank 1"])
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_stored_tensor_that_was_loaded_in_part_is_refused_by_name(shardwise, tmp_path):
    numpy = pytest.importorskip("numpy")
    source = write_checkpoint(
        tmp_path / "odd", CONFIG, {"model.safetensors": odd_tensors(numpy.random.default_rng(1))})
    (tmp_path / "odd.json").write_text(json.dumps(RULES))
    shardwise.check(
        "load", source, f"--arch={tmp_path / 'odd.json'}", "--exclude=*layers.1.k_proj*", f"--out={tmp_path / 'ranks'}",
        ranks=2,
    )
    result = export(shardwise, tmp_path / "ranks", tmp_path / "out")
    assert_refused(result, INPUT, ["layer2.att.qkv.weight: the ranks hold 576 of its 768 B"])
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_checkpoint_in_the_way_is_replaced_only_if_told(shardwise, loaded, tiny, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(tiny, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_refused(export(shardwise, loaded / "safetensors", out), INPUT, [str(out), "already; --overwrite"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    (out / "tokenizer.json").write_text("{}")
    first = min(before.keys() - {"config.json"})
    (out / first).chmod(0o640)
    result = export(shardwise, loaded / "safetensors", out, "--overwrite", "--max-shard-size=1GB")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    shardwise.check("verify", out, tiny)

    result = export(shardwise, loaded / "safetensors", out, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == sorted([*before, "tokenizer.json"])
    shardwise.check("verify", out, tiny)


def test_a_replaced_file_keeps_its_mode(shardwise, loaded, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    for number, name in enumerate(names):
        (tmp_path / "out" / name).chmod(0o600 + number)
    assert export(shardwise, loaded / "safetensors", tmp_path / "out", "--overwrite").returncode == 0
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in names]
    assert modes == [0o600 + number for number in range(len(names))]


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_rank_files_are_never_mixed_with_a_checkpoint(shardwise, loaded, tmp_path, options):
    shutil.copytree(loaded / "safetensors", tmp_path / "ranks")
    before = sorted((tmp_path / "ranks").iterdir())
    assert_refused(export(shardwise, tmp_path / "ranks", tmp_path / "ranks", *options), INPUT, ["holds rank files"])
    assert sorted((tmp_path / "ranks").iterdir()) == before


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_folder_that_cannot_be_written_to_is_an_io_error(shardwise, loaded, tmp_path, ranks):
    (tmp_path / "file").write_text("")
    result = export(shardwise, loaded / "safetensors", tmp_path / "file/out", ranks=ranks)
    assert_refused(result, IO, [str(tmp_path / "file")])


@pytest.fixture
def small_disk(disk_of):
    return disk_of("300k")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_leaves_nothing(shardwise, tmp_path, small_disk, ranks):
    """Of four files of 100 KB three fit."""
    source = make_checkpoint(tmp_path / "source", hidden=128, intermediate=192, vocab=256, files=4)
    assert sum(path.stat().st_size for path in source.iterdir()) > 300 << 10
    shardwise.check("load", source, f"--out={tmp_path / 'ranks'}", ranks=2)
    result = export(shardwise, tmp_path / "ranks", small_disk / "out", ranks=ranks)
    assert_refused(result, IO, [str(small_disk), "No space left on device"])
    assert_nothing_under_a_final_name(small_disk / "out")  # temporary files are gone, too


def test_options_that_make_no_sense_are_refused(shardwise, loaded, tmp_path):
    for options, words in (
        ([], ["export needs --out"]),
        (["--out=x", "--max-shard-size=0"], ["--max-shard-size 0"]),
        (["--out=x", "--max-shard-size=big"], ["--max-shard-size: "]),
        (["--out=x", "--tp=2"], ["unknown option", "tp"]),
    ):
        assert_refused(shardwise.run("export", loaded / "safetensors", *options), USAGE, words)
    assert_refused(shardwise.run("convert", loaded), USAGE, ["convert needs --out"])


# Jobs that are met in the middle

RANKS = 2
# What is under way is finished first, forcing it to the disk included, which takes its time on a busy machine.
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def large_ranks(shardwise, large, tmp_path_factory):
    out = tmp_path_factory.mktemp("large-ranks")
    shardwise.check("load", large, f"--out={out}", ranks=2)
    return out


def has_pending_file(folder):
    return folder.exists() and any(path.name.endswith(".tmp") for path in folder.iterdir())


@pytest.fixture
def stopped_job(shardwise, large_ranks, tmp_path):
    """An export whose ranks stand still while they write."""
    jobs = []

    def start():
        for _ in range(ATTEMPTS):
            job = shardwise.start(
                "export", large_ranks, f"--out={tmp_path / 'out'}", ranks=RANKS, wrapper=NOTE_STATUS,
                env={FOLDER: str(tmp_path)},
            )
            jobs.append(job)
            out = tmp_path / "out"
            pids = wait_for(job, tmp_path, RANKS, lambda pids: has_pending_file(out) and has_open(pids[0], out))
            if pids is not None:
                signal_all(pids.values(), signal.SIGSTOP)
                if not list((tmp_path / "out").glob("model*")):
                    return job, pids
                signal_all(pids.values(), signal.SIGKILL)
            job.communicate(timeout=PATIENCE_SECONDS)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        pytest.fail(f"the export could not be met while it wrote, in {ATTEMPTS} attempts")

    yield start
    for job in jobs:
        signal_all(processes_of(tmp_path).values(), signal.SIGKILL)  # one that stands still holds the pipes open
        if job.poll() is None:
            job.kill()
        job.communicate()


def final_names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_killed_rank_leaves_nothing_under_a_final_name(stopped_job, tmp_path):
    job, pids = stopped_job()
    signal_all([pids[1]], signal.SIGKILL)
    signal_all([pids[0]], signal.SIGCONT)
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert statuses_of(tmp_path, [0]) == [PEER], errors
    (line,) = error_lines(errors)
    assert "rank 1 died" in line or "ended the job" in line  # the launcher may be the first to see it
    assert final_names(tmp_path / "out") == []


def test_a_cancelled_export_takes_its_temporary_files_away(stopped_job, tmp_path):
    job, pids = stopped_job()
    signal_all(pids.values(), signal.SIGTERM)
    signal_all(pids.values(), signal.SIGCONT)
    _, errors = job.communicate(timeout=PATIENCE_SECONDS)
    assert statuses_of(tmp_path, range(RANKS)) == [PEER] * RANKS, errors
    (line,) = error_lines(errors)
    assert "ended the job" in line
    assert_nothing_under_a_final_name(tmp_path / "out")
