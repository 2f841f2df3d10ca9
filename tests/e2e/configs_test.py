"""Architecture files: the built-in ones against their schema and against the reference's table, and wrong ones, which
the schema and the program must refuse alike."""
import copy
import json
import re

import pytest

from conftest import SHARED, SOURCE

BAD_INPUT = 3
CONFIGS = sorted(path for path in (SOURCE / "configs").glob("*.json") if path.name != "schema.json")
SCHEMA = json.loads((SOURCE / "configs/schema.json").read_text())


def violations(document):
    jsonschema = pytest.importorskip("jsonschema")
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]


def load(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def reference():
    file = SHARED / "reference/architectures.json"
    if not file.is_file():
        pytest.skip(f"{file} is absent")
    return load(file)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint of one tensor, for runs that end at the architecture file or soon after."""
    numpy = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save_file
    folder = tmp_path_factory.mktemp("checkpoint")
    save_file({"model.w": numpy.zeros((4, 4), numpy.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "mine", "rows": 2}')
    return folder


# The schema


def test_the_schema_is_one():
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_follows_the_schema(path):
    document = load(path)
    assert violations(document) == []
    assert document["$schema"] == "schema.json", "editors find the schema by this"




def properties(schema, at=""):
    """Every property that some object of the schema may have, with the path to it."""
    if isinstance(schema, dict):
        if "type" in schema:  # the branches of an anyOf only narrow what is described elsewhere
            for name, value in schema.get("properties", {}).items():
                yield f"{at}/{name}", value
        for key, value in schema.items():
            yield from properties(value, f"{at}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from properties(value, f"{at}/{index}")


def test_every_key_is_explained_and_no_object_takes_unknown_ones():
    for path, value in properties(SCHEMA):
        target = SCHEMA["$defs"][value["$ref"].rsplit("/", 1)[1]] if "$ref" in value else {}
        assert value.get("description") or target.get("description"), f"{path} has no description"

    def objects(schema):
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for value in schema.values():
                yield from objects(value)
        elif isinstance(schema, list):
            for value in schema:
                yield from objects(value)

    for schema in objects(SCHEMA):
        assert "additionalProperties" in schema, schema.get("description")


# Right and wrong files, by schema and by program

RULE = {"convert": "q", "to": ["a", "b"], "ops": [{"op": "Chunk", "dim": 0}]}
GOOD = {"family": "mine", "model_types": ["mine"], "plans": {"tp": {"base": {"w": "colwise"}}}}


def with_rule(**rule):
    return {**GOOD, "transforms": [rule]}


def with_op(**op):
    return with_rule(convert="q", to="a", ops=[op])


def with_plan_rule(rule):
    return {**GOOD, "plans": {"tp": {"base": {"w": rule}}}}


RIGHT = {
    "the least there can be": {"family": "f", "model_types": [], "plans": {"tp": {}}},
    "ties in order": {**GOOD, "tied": [{"a.\\d+": "a.0"}, {"a": "b"}]},
    "every key": {
        "$schema": "schema.json", "family": "f", "about": "a", "base": "model",
        "model_types": "t", "model_classes": ["C"],
        "sizes": {"a": "rows * (2 + 1)"}, "ignore": "inv_freq$", "tied": {"a": "b"},
        "heads": {"query": ["q"], "key_value": "k"},
        "parameters": {"norm.weight": ["rows"], "layers.{rows}.{1...rows}.w": {"shape": ["2"], "dtype": "BF16",
                                                                              "optional": True},
                       "layers.{rows}.b": {"shape": ["rows % 2"], "if": "(layer in list) == 0"}},
        "whole_classes": "C", "ignore_missing": "inv_freq$",
        "pipeline": {"layers": "blocks", "first": ["wte"], "last": ["ln_f", "head"]},
        "base_class": "C", "keep_in_fp32": {"float16": "a", "float16_and_bfloat16": ["b", "c"]},
        "parts": {"a.b": {"config": "a_config", "model_type": "llama", "head": True},
                  "c": {"config": ["a_config", "b_config"]}},
        "variants": {"t, C": {"about": "a", "base": "m", "base_class": "", "parts": {}, "sizes": {}, "ignore": [],
                              "tied": {}, "keep_in_fp32": {}, "heads": {}, "parameters": {}, "whole_classes": [],
                              "ignore_missing": [], "pipeline": {}, "transforms": [{"use": "mixtral"}],
                              "plans": {"tp": {}}}},
        "transforms": [
            {"use": "llava"},
            {"rename": "^a", "to": "b", "scope": "s"},
            {"rename": ["c", "d"], "to": ["e"]},
            {"rename_group": ["f(0)", "f(1)"], "to": ["g\\1", "h"], "scope": "s"},
            {"rename_offset": "i(\\d+)", "to": "j\\1", "offset": -1},
            {"add_prefix": "k", "within": "l", "scope": "s"},
            {"remove_prefix": "m"},
            {"convert": ["n.*.w1", "n.*.w3"], "to": "o", "scope": "s",
             "ops": [{"op": "MergeModulelist", "dim": 0, "count": "rows"}, {"op": "Concatenate", "dim": 1}]},
            {"convert": "p", "to": ["q", "r"], "ops": [{"op": "Split", "dim": 0, "sizes": ["rows", "2"]}]},
            {"convert": "s_", "to": "t.*", "ops": [{"op": "SplitModulelist"}]},
            {"convert": ["u_"], "to": ["v"], "ops": [{"op": "Transpose", "dim0": 1, "dim1": 0},
                                                    {"op": "Interleave", "dim": 7, "inverse": True}]},
            {"convert": "x_", "to": "y", "ops": [{"op": "PermuteForRope", "heads": "rows", "kv_heads": "rows / 2",
                                                  "names": "a", "kv_names": ["b"], "inverse": False}]},
            {"convert": "z_", "to": "a.*", "ops": [{"op": "Chunk", "dim": 0, "count": "rows"}]},
            {"convert": "aa_", "to": "ab", "ops": [{"op": "Transpose", "unless_shape": ["rows", "2"]}]},
            {"convert": ["a.*.c", "a.*.d"], "to": ["ae", "af"],
             "ops": [{"op": "ErnieFuseAndSplitTextVisionExperts", "stack_dim": 0, "concat_dim": 1}]},
            {"convert": ["ae", "af"], "to": ["a.*.c", "a.*.d"],
             "ops": [{"op": "ErnieSplitAndDecoupleTextVisionExperts"}]},
            {"convert": "ag_", "to": "ah", "ops": [{"op": "Conv3dToLinear"}]},
            {"convert": "ah_", "to": "ag",
             "ops": [{"op": "LinearToConv3d", "in_channels": "3", "kernel_size": ["2", "rows", "rows"]}]},
        ],
        "plans": {
            "tp": {
                "about": "a",
                "base": {
                    "a": {"shard": 0},
                    "b": {"packed": {"dim": 1, "blocks": ["rows", {"size": "rows"}, {"size": "2", "heads": "query"}]}},
                    "c": {"packed": {"blocks": ["4"]}},
                },
                "head": {"d": "rowwise"},
            },
            "ep": {"extends": "tp"},
        },
    },
}

WRONG = {
    "no family": {"model_types": [], "plans": {}},
    "no model types": {"family": "f", "plans": {}},
    "no plans": {"family": "f", "model_types": []},
    "an unknown key": {**GOOD, "transform": []},
    "a number for a text": {**GOOD, "family": 3},
    "a number in a list of texts": {**GOOD, "model_types": ["a", 1]},
    "a number for a size": {**GOOD, "sizes": {"rows": 4}},
    "a list of tied names": {**GOOD, "tied": ["a", "b"]},
    "an unknown kind of heads": {**GOOD, "heads": {"kv": ["k"]}},
    "a parameter that is a number": {**GOOD, "parameters": {"w": 4}},
    "an unknown key of a parameter": {**GOOD, "parameters": {"w": {"type": "BF16"}}},
    "a part without a configuration": {**GOOD, "parts": {"a": {"model_type": "llama"}}},
    "a part with an unknown key": {**GOOD, "parts": {"a": {"config": "c", "base": "model"}}},
    "a variant with a family": {**GOOD, "variants": {"mine": {"family": "other"}}},
    "a variant that is a list": {**GOOD, "variants": {"mine": []}},
    "an unknown type to keep": {**GOOD, "keep_in_fp32": {"float8": ["a"]}},
    "used transforms with a scope": with_rule(use="mixtral", scope="a"),
    "transforms by name": {**GOOD, "transforms": {"a": "b"}},
    "a rule without a kind": with_rule(to="b"),
    "a rule of two kinds": with_rule(rename="a", rename_group="a", to="b"),
    "a rule that adds and removes": with_rule(add_prefix="a", remove_prefix="b"),
    "a rename without a target": with_rule(rename="a"),
    "a rename of nothing": with_rule(rename=[], to="b"),
    "a rename to two": with_rule(rename="a", to=["b", "c"]),
    "an offset without need": with_rule(rename="a", to="b", offset=1),
    "an offset rename without an offset": with_rule(rename_offset="a(\\d)", to="b"),
    "an offset that is no whole number": with_rule(rename_offset="a(\\d)", to="b", offset=1.5),
    "a prefix with a target": with_rule(add_prefix="a", to="b"),
    "a converter without operations": with_rule(convert="a", to="b", ops=[]),
    "a converter without a target": with_rule(convert="a", to=[], ops=[{"op": "Chunk"}]),
    "many to many": with_rule(convert=["a", "b"], to=["c", "d"], ops=[{"op": "Chunk"}]),
    "an unknown operation": with_op(op="Rotate"),
    "an operation without a name": with_op(dim=0),
    "a negative dimension": with_op(op="Chunk", dim=-1),
    "a dimension beyond the last": with_op(op="Chunk", dim=8),
    "a dimension that is a text": with_op(op="Chunk", dim="0"),
    "a parameter of another operation": with_op(op="Transpose", dim=0),
    "a count that is a number": with_op(op="MergeModulelist", dim=0, count=8),
    "a count of what is taken apart": with_op(op="SplitModulelist", dim=0, count="rows"),
    "a kernel of two dimensions": with_op(op="LinearToConv3d", in_channels="3", kernel_size=["2", "2"]),
    "a split without sizes": with_op(op="Split", dim=0),
    "a flag that is a number": with_op(op="Interleave", inverse=1),
    "an unknown style": with_plan_rule("colwize"),
    "a style of an older version": with_plan_rule("local_colwise"),
    "a rule that is a number": with_plan_rule(0),
    "a rule without a cut": with_plan_rule({}),
    "a rule with two cuts": with_plan_rule({"shard": 0, "packed": {"blocks": ["4"]}}),
    "a packed rule without blocks": with_plan_rule({"packed": {"dim": 0}}),
    "a packed rule with no blocks": with_plan_rule({"packed": {"dim": 0, "blocks": []}}),
    "a block of unknown heads": with_plan_rule({"packed": {"blocks": [{"size": "4", "heads": "kv"}]}}),
    "a block without a size": with_plan_rule({"packed": {"blocks": [{"heads": "query"}]}}),
    "a plan that is a style": {**GOOD, "plans": {"tp": "colwise"}},
    "an unknown key in the pipeline": {**GOOD, "pipeline": {"layer": "h"}},
    "a number for a list of layers": {**GOOD, "pipeline": {"layers": 3}},
    "an unknown key in a plan": {**GOOD, "plans": {"tp": {"rules": {}}}},
    "a list": [],
}


@pytest.mark.parametrize("document", RIGHT.values(), ids=RIGHT)
def test_schema_and_program_accept_a_right_file(shardwise, checkpoint, tmp_path, document):
    assert violations(document) == []
    file = tmp_path / "arch.json"
    file.write_text(json.dumps(document))
    shardwise.check("plan", checkpoint, "--arch", file, "--tp", 2)


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
def test_schema_and_program_refuse_a_wrong_file(shardwise, checkpoint, tmp_path, document):
    assert violations(document) != []
    file = tmp_path / "arch.json"
    file.write_text(json.dumps(document))
    result = shardwise.run("plan", checkpoint, "--arch", file, "--tp", 2)
    assert result.returncode == BAD_INPUT, result.stderr
    assert str(file) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


# The reference's table

# Of the files written by hand; architectures_test looks at all.
MODEL_TYPES = [(path.stem, model_type) for path in CONFIGS for model_type in load(path)["model_types"]
               if not load(path).get("about", "").startswith("Imported")]


def differences(model_type, what, ours, theirs, also=()):
    """One line for every key whose values are not the same. A rule that a sibling in `also` has may stand here, too:
    a family has one plan, and a rule for what a model type lacks matches nothing."""
    def is_a_siblings(key):
        return key not in theirs and any(sibling.get(key) == ours[key] for sibling in also)

    return [f"{model_type}: {what}: {key}: config has {ours.get(key)}, reference has {theirs.get(key)}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key) and not is_a_siblings(key)]


# Styles that are cut alike: what they differ in is communication, which a loader does not do.
PLACEMENT_OF = {"colwise_gather_output": "colwise", "colwise_rep": "colwise",
                "rowwise_split_input": "rowwise", "rowwise_rep": "rowwise"}
UNCUT = {"replicate", "sequence_parallel", "replicated_with_grad_allreduce", "mla_kv_a_proj", "all_reduce",
         "moe_tp_experts", "moe_identity_expert", "local_params", "ep_dispatch_experts"}


def placements(rules):
    """Rules by what they do to a parameter; rules that leave it whole count as none."""
    return {name: PLACEMENT_OF.get(rule, rule) for name, rule in rules.items() if rule not in UNCUT}


def as_list(texts):
    return [texts] if isinstance(texts, str) else texts


def normal_transform(rule):
    """A rule of ours in the form of the reference's table."""
    kind = next(key for key in ("convert", "rename", "rename_group", "rename_offset") if key in rule)
    result = {"kind": kind, "sources": as_list(rule[kind]), "targets": as_list(rule["to"])}
    if "ops" in rule:
        result["operations"] = [
            {"op": op["op"], "params": {key: value for key, value in op.items() if key not in ("op", "count")}}
            for op in rule["ops"]]  # a count is a check of ours
    return result


def normal_reference(rule):
    result = copy.deepcopy(rule)
    for operation in result.get("operations", []):
        operation["params"] = {key: value for key, value in operation["params"].items() if value is not None}
    return result


def conversions(reference, key):
    entry = reference["conversions"].get(key, {"transforms": []})
    if "alias_of" in entry:
        return conversions(reference, entry["alias_of"])
    return [normal_reference(rule) for rule in entry["transforms"]]


@pytest.mark.parametrize("family, model_type", MODEL_TYPES, ids=[model_type for _, model_type in MODEL_TYPES])
class TestAgainstTheReference:
    @pytest.fixture(autouse=True)
    def _only_where_it_has_a_plan(self, reference, model_type):
        model = reference["models"][model_type]
        if not model.get("tp_plan") and not model.get("ep_plan"):
            pytest.skip("the reference has no plan for it; dense_layouts_test says what it is")

    def config(self, family):
        return load(SOURCE / f"configs/{family}.json")

    def transforms(self, family):
        rules = self.config(family).get("transforms", [])
        return self.transforms(rules[0]["use"]) if rules and "use" in rules[0] else rules

    def test_the_plans_cut_alike(self, reference, family, model_type):
        config = self.config(family)
        model = reference["models"][model_type]
        head = model["classes"][model["causal_lm"]].get("tp_plan", {})
        siblings = [placements(reference["models"][sibling].get("tp_plan", {})) for sibling in config["model_types"]]
        tp, ep = config["plans"]["tp"], config["plans"].get("ep", {})
        found = differences(model_type, "plan tp, base", placements(tp.get("base", {})),
                            placements(model.get("tp_plan", {})), also=siblings)
        found += differences(model_type, "plan tp, head", placements(tp.get("head", {})), placements(head))
        found += differences(model_type, "plan ep", ep.get("base", {}), model.get("ep_plan", {}))
        assert not found, "\n".join(found)

    def test_the_conversions_are_the_same(self, reference, family, model_type):
        ours = [normal_transform(rule) for rule in self.transforms(family)]
        theirs = conversions(reference, model_type)
        assert ours == theirs, f"{model_type}: transforms: config has {ours}, reference has {theirs}"

    def test_ties_and_the_base_model_are_the_same(self, reference, family, model_type):
        config = self.config(family)
        model = reference["models"][model_type]
        causal_lm = model["classes"][model["causal_lm"]]
        assert config["base"] == causal_lm.get("base_model_prefix", model["base_model_prefix"])
        assert config["tied"] == causal_lm["tied_weights_keys"]

    def test_sizes_named_by_the_config_are_fields_of_the_model(self, reference, family, model_type):
        """Others are there for the file's own expressions, which use them."""
        config = self.config(family)
        used = set(re.findall(r"\w+", json.dumps([config.get("parameters"), list(config.get("sizes", {}).values()),
                                                       self.transforms(family)])))
        assert set(config.get("sizes", {})) <= set(reference["models"][model_type]["sizes"]) | {"head_dim"} | used


def test_legacy_renames_are_the_same(reference):
    ours = [normal_transform(rule) for rule in load(SOURCE / "configs/legacy.json")["transforms"]]
    assert ours == conversions(reference, "legacy")


def test_every_style_of_the_reference_is_in_the_schema(reference):
    assert sorted(SCHEMA["$defs"]["style"]["enum"]) == sorted(reference["styles"])


def in_our_words(rule):
    """A rule of the reference's table in our format; sizes that its data does not state are made up."""
    if rule["kind"] == "prefix_change":
        key = "prefix_to_add" if "prefix_to_add" in rule else "prefix_to_remove"
        result = {"add_prefix" if key == "prefix_to_add" else "remove_prefix": rule[key]}
        if rule.get("model_prefix"):
            result["within"] = rule["model_prefix"]
        return result
    kind = {"group_rename": "rename_group", "index_offset_rename": "rename_offset"}.get(rule["kind"], rule["kind"])
    result = {kind: rule["sources"], "to": rule["targets"]}
    if "offset" in rule:
        result["offset"] = rule["offset"]
    for operation in rule.get("operations", []):
        words = {"op": operation["op"]}
        for key, value in operation["params"].items():
            if value is None or (key == "check_dims" and not value):
                continue
            if key == "permute_layer_names":
                words["names"] = value
            elif key == "num_shards_attribute":
                words["count"] = value
            elif key == "subconfig_key":
                words["heads"] = f"{value}.num_attention_heads"
            elif key == "check_dims":
                words["unless_shape"] = ["experts", "rows", "columns"]
            else:
                words[key] = value
        if operation["op"] == "Split":
            words["sizes"] = ["rows"] * len(rule["targets"])
        result.setdefault("ops", []).append(words)
    return result


def test_the_format_can_say_every_conversion_of_the_reference(reference, shardwise, checkpoint, tmp_path):
    rules = [in_our_words(rule) for entry in reference["conversions"].values() for rule in entry.get("transforms", [])]
    document = {**GOOD, "transforms": rules}
    assert violations(document) == []
    file = tmp_path / "arch.json"
    file.write_text(json.dumps(document))
    shardwise.check("plan", checkpoint, "--arch", file, "--tp", 2)


def test_the_format_can_say_every_plan_of_the_reference(reference, shardwise, checkpoint, tmp_path):
    plans = {}
    for model_type, model in reference["models"].items():
        plans[model_type] = {"base": model.get("tp_plan", {})}
        plans[model_type + " ep"] = {"extends": model_type, "base": model.get("ep_plan", {})}
        for name, model_class in model.get("classes", {}).items():
            plans[f"{model_type} {name}"] = {"head": model_class.get("tp_plan", {})}
    document = {**GOOD, "plans": plans}
    assert violations(document) == []
    file = tmp_path / "arch.json"
    file.write_text(json.dumps(document))
    shardwise.check("plan", checkpoint, "--arch", file, "--plan", "llama", "--tp", 2)
