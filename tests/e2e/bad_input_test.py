"""Broken checkpoints and full disks: every rank ends in time, one line says why, nothing is left half-written."""

import json
import os
import shutil

import pytest

from checkpoints import Tensor, read_file, write_file, write_raw
from conftest import make_checkpoint
from refusal import INPUT, IO, assert_nothing_under_a_final_name, assert_refused, load

INDEX = "model.safetensors.index.json"
SECOND = "model-00002-of-00004.safetensors"


def edit_header(path, change):
    """Rewrites a file with change(header) for its header and the data as it is."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    changed = change(header)
    write_raw(path, header if changed is None else changed, content[8 + length :])


def first_entry(header):
    return next(entry for name, entry in header.items() if name != "__metadata__")


def move_last_tensor(by):
    def change(header):
        last = max(
            (entry for name, entry in header.items() if name != "__metadata__"), key=lambda entry: entry["data_offsets"]
        )
        last["data_offsets"] = [offset + by for offset in last["data_offsets"]]

    return change


def name_twice(header):
    text = json.dumps(header)
    name = next(name for name in header if name != "__metadata__")
    other = next(entry for entry in header if entry not in ("__metadata__", name))
    return text.replace(json.dumps(other), json.dumps(name)).encode()


def edit_json(name, change):
    def damage(folder):
        document = json.loads((folder / name).read_text())
        change(document)
        (folder / name).write_text(json.dumps(document))

    return damage


def edit_second(change):
    return lambda folder: edit_header(folder / SECOND, change)


def truncate_second(folder):
    os.truncate(folder / SECOND, (folder / SECOND).stat().st_size - 1000)


def lengthen_second(folder):
    with open(folder / SECOND, "ab") as file:
        file.write(b"\0" * 24)


def put_folder_in_place_of_second(folder):
    (folder / SECOND).unlink()
    (folder / SECOND).mkdir()


def add_second_copy(folder):
    (folder / INDEX).unlink()
    write_file(
        folder / "model-extra.safetensors",
        {"model.norm.weight": read_file(folder / "model-00004-of-00004.safetensors")["model.norm.weight"]},
    )


def write_second(content):
    return lambda folder: (folder / SECOND).write_bytes(content)


def move_to_file(name):
    return edit_json(INDEX, lambda index: index["weight_map"].update({"model.layers.0.mlp.up_proj.weight": name}))


# what is done to a good checkpoint -> words of the one line
DAMAGES = {
    "truncated file": (truncate_second, [SECOND, "truncated"]),
    "bytes after the last tensor": (lengthen_second, [SECOND, "tensors end at byte", "the file has"]),
    "folder in the place of a file": (put_folder_in_place_of_second, [SECOND, "not a regular file"]),
    "empty file": (write_second(b""), [SECOND, "0 B are too few"]),
    "header longer than the file": (
        write_second((10**6).to_bytes(8, "little") + b"{}" + b" " * 90),
        [SECOND, "1000000 B", "100 B"],
    ),
    "header length of 2^63": (
        write_second((1 << 63).to_bytes(8, "little") + b"{}"),
        [SECOND, "9223372036854775808", "limit"],
    ),
    "header that is no JSON": (write_second((16).to_bytes(8, "little") + b"{'not': 'json'} "), [SECOND, "header"]),
    "another format under this name": (write_second(b"\x89HDF\r\n\x1a\n" + b"\0" * 100), [SECOND, "HDF5"]),
    "overlapping tensors": (edit_second(move_last_tensor(-2)), [SECOND, "overlap", "expected"]),
    "hole between tensors": (edit_second(move_last_tensor(2)), [SECOND, "hole", "expected"]),
    "shape and bytes differ": (
        edit_second(lambda header: first_entry(header).update(shape=[3, 3])),
        [SECOND, "[3, 3]", "18 B"],
    ),
    "shape that overflows": (
        edit_second(lambda header: first_entry(header).update(shape=[1 << 40, 1 << 40])),
        [SECOND, "overflow"],
    ),
    "unknown dtype": (edit_second(lambda header: first_entry(header).update(dtype="BF17")), [SECOND, "BF17"]),
    "one name twice in a file": (edit_second(name_twice), [SECOND, "twice"]),
    "one name in two files, no index": (
        add_second_copy,
        ["model.norm.weight", "model-00004-of-00004.safetensors", "model-extra.safetensors", "no index"],
    ),
    "index names an absent file": (
        move_to_file("model-00009-of-00004.safetensors"),
        [INDEX, "model-00009-of-00004.safetensors", "not there"],
    ),
    "index gives a tensor to the wrong file": (
        move_to_file("model-00004-of-00004.safetensors"),
        ["model.layers.0.mlp.up_proj.weight", "model-00004-of-00004", "does not hold it"],
    ),
    "index names an absent tensor": (
        edit_json(INDEX, lambda index: index["weight_map"].update({"model.ghost": SECOND})),
        [INDEX, "model.ghost", SECOND],
    ),
    "index that leaves its folder": (move_to_file("../other.safetensors"), [INDEX, "../other.safetensors"]),
    "index that is no JSON": (lambda folder: (folder / INDEX).write_text("{"), [INDEX, "JSON"]),
    "no weights at all": (lambda folder: [path.unlink() for path in folder.glob("model*")], ["no .safetensors file"]),
    "no config.json": (lambda folder: (folder / "config.json").unlink(), ["config.json", "--arch"]),
    "config.json that is no JSON": (lambda folder: (folder / "config.json").write_text("{,}"), ["config.json"]),
    "unknown model_type": (
        edit_json("config.json", lambda config: config.update(model_type="lama", architectures=["Lama"])),
        ["'lama'", "nearest known one is 'llama'"],
    ),
}


@pytest.fixture
def copy(tiny, tmp_path):
    """A checkpoint to damage."""
    return shutil.copytree(tiny, tmp_path / "checkpoint")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_checkpoint_is_refused_by_all_ranks(shardwise, copy, tmp_path, damage):
    apply, words = DAMAGES[damage]
    apply(copy)
    result = load(shardwise, copy, f"--out={tmp_path / 'out'}")
    assert_refused(result, INPUT, words)
    assert_nothing_under_a_final_name(tmp_path / "out")


@pytest.mark.parametrize("damage", ["truncated file", "overlapping tensors", "index names an absent file"])
def test_inspect_and_plan_say_the_same_as_load(shardwise, copy, damage):
    apply, words = DAMAGES[damage]
    apply(copy)
    assert_refused(shardwise.run("inspect", copy), INPUT, words)
    assert_refused(shardwise.run("plan", copy, "--tp=2"), INPUT, words)


def test_a_strict_plan_refuses_a_cut_into_unequal_parts(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "odd", intermediate=97)
    result = load(shardwise, folder, "--strict-divisible")
    assert_refused(result, INPUT, ["mlp", "97", "2 equal parts", "--strict-divisible"])


def test_experts_that_cannot_be_dealt_evenly_are_warned_of_or_refused_if_asked(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "mixture", arch="mixtral", experts=5)
    result = load(shardwise, folder, "--plan=ep")
    assert result.returncode == 0 and "5 experts do not come out even: 1 hold 3, 1 hold 2" in result.stderr
    result = load(shardwise, folder, "--plan=ep", "--strict-divisible")
    assert_refused(result, INPUT, ["--strict-divisible", "experts", "[5, ", "2 equal parts"])


def test_experts_of_unequal_shapes_are_refused(shardwise, tmp_path):
    folder = make_checkpoint(tmp_path / "mixture", arch="mixtral", experts=4, layers=1, files=1)
    tensors = read_file(folder / "model.safetensors")
    name = "model.layers.0.block_sparse_moe.experts.2.w2.weight"
    tensors[name] = Tensor("BF16", tensors[name].array[:, 1:])
    write_file(folder / "model.safetensors", tensors)
    assert_refused(load(shardwise, folder), INPUT, ["experts.", "down_proj"])


def test_a_link_to_itself_is_an_io_error(shardwise, copy):
    (copy / SECOND).unlink()
    (copy / SECOND).symlink_to(SECOND)
    assert_refused(load(shardwise, copy), IO, [SECOND, "Too many levels of symbolic links"])


def test_a_file_without_permission_is_an_io_error(shardwise, copy, tmp_path):
    """Root reads files whatever their permissions, so its ranks run without that right."""
    (copy / SECOND).chmod(0)
    wrapper = []
    if os.geteuid() == 0:
        wrapper = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file, and there is no setpriv to take that right away")
    result = load(shardwise, copy, f"--out={tmp_path / 'out'}", wrapper=wrapper)
    assert_refused(result, IO, [SECOND, "Permission denied"])
    assert_nothing_under_a_final_name(tmp_path / "out")


@pytest.fixture
def small_disk(disk_of):
    return disk_of("1m")


@pytest.mark.parametrize("format", ["safetensors", "hdf5"])
def test_a_full_disk_leaves_nothing_behind(shardwise, small_disk, tmp_path, format):
    folder = make_checkpoint(tmp_path / "larger", vocab=12000, hidden=96)
    result = load(shardwise, folder, f"--out={small_disk / 'out'}", f"--format={format}")
    assert_refused(result, IO, [str(small_disk), "model-rank-", "No space left on device"])
    assert_nothing_under_a_final_name(small_disk / "out")


@pytest.mark.parametrize("format", ["safetensors", "hdf5"])
def test_a_full_disk_keeps_what_stood_there_before(shardwise, small_disk, tiny, tmp_path, format):
    shardwise.check("load", tiny, f"--out={small_disk / 'out'}", f"--format={format}", ranks=2)
    before = {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()}
    folder = make_checkpoint(tmp_path / "larger", vocab=12000, hidden=96)
    result = load(shardwise, folder, f"--out={small_disk / 'out'}", f"--format={format}")
    assert result.returncode == IO
    assert {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()} == before


def test_an_out_that_is_a_file_is_an_io_error(shardwise, tiny, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = load(shardwise, tiny, f"--out={tmp_path / 'out'}")
    assert_refused(result, IO, [str(tmp_path / "out")])
    assert (tmp_path / "out").read_text() == "mine"


def more_rules(**keys):
    return {"family": "more", "model_types": [], "plans": {}, **keys}


CHUNK = [{"op": "Chunk"}]
BAD_RULES = {
    "a pattern that does not compile": (
        more_rules(transforms=[{"rename": "layers(", "to": "l"}]),
        ["more.json: transforms[0].rename", "'layers('"],
    ),
    "a rule that makes what another tensor is": (
        more_rules(transforms=[{"rename": "up_proj", "to": "gate_proj"}]),
        ["parameter model.layers.0.mlp.gate_proj.weight has two sources", "model.layers.0.mlp.up_proj.weight"],
    ),
    "a converter that makes what another tensor is": (
        more_rules(transforms=[{"convert": "up_proj.weight", "to": ["gate_proj.weight", "w"], "ops": CHUNK}]),
        ["model.layers.0.mlp.gate_proj.weight has two sources", "the rule for 'up_proj.weight' of", "more.json"],
    ),
    "a converter that misses a source": (
        more_rules(transforms=[{"convert": ["up_proj.weight", "side_proj"], "to": "w",
                                "ops": [{"op": "Concatenate"}]}]),
        ["making model.layers.0.mlp.w by the rule for", "more.json", "no tensor matches its source 'side_proj'"],
    ),
    "an unknown style": (
        more_rules(plans={"tp": {"base": {"layers.*.mlp.up_proj": "colwize"}}}),
        ["more.json: plans.tp.base.layers.*.mlp.up_proj", "colwise"],
    ),
    "a base model": (more_rules(base="model"), ["more.json", "'base'"]),
}


@pytest.mark.parametrize("what", BAD_RULES)
def test_rules_that_are_wrong_or_overlap_are_refused_by_all_ranks(shardwise, copy, tmp_path, what):
    document, words = BAD_RULES[what]
    (tmp_path / "more.json").write_text(json.dumps(document))
    options = [f"--rules={tmp_path / 'more.json'}", f"--out={tmp_path / 'out'}"]
    result = load(shardwise, copy, *options)
    assert_refused(result, INPUT, words)
    assert_nothing_under_a_final_name(tmp_path / "out")


def test_a_file_of_rules_that_is_absent_is_named(shardwise, copy, tmp_path):
    result = shardwise.run("plan", copy, "--tp=2", f"--rules={tmp_path / 'absent.json'}")
    assert result.returncode == 4
    assert "absent.json" in result.stderr
