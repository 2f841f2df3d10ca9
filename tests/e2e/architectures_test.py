"""Every architecture that shardwise knows: a tiny checkpoint of each model type, and of each class that has rules of
its own, must be held by the ranks as the table of architectures says, worked out over whole arrays."""
import gzip
import hashlib
import json
import os
import re
import subprocess

import pytest

from conftest import BIN, SHARED, SOURCE, environment

np = pytest.importorskip("numpy")
reference = pytest.importorskip("architecture_reference")
save_file = pytest.importorskip("safetensors.numpy").save_file

TABLE_FILE = SHARED / "reference/architectures.json"
RECORD = SOURCE / "tests/fixtures/architectures.json.gz"
needs_table = pytest.mark.skipif(not TABLE_FILE.is_file(), reason=f"{TABLE_FILE} is absent")
PLANS = {"tp": (1, 2, 3, 4, 8), "ep": (1, 2)}
EXPERTS = 2
# What AutoConfig parts are in these checkpoints: types that have rules of each kind.
SOME_TYPES = {"text_config": "qwen3_moe", "vision_config": "clip_vision_model", "vlm_config": "llava",
              "high_res_vision_config": "siglip_vision_model", "dit_config": "gemma"}


def join(*parts):
    return ".".join(part for part in parts if part)


def correct(models, conversions):
    """What the framework does and its table does not tell: oracle_test.py compares with the framework itself."""
    # The class keeps its base model as "model", where its ties lie, too.
    del models["llama4_text"]["classes"]["Llama4ForCausalLM"]["base_model_prefix"]
    # A parameter of the model is loaded, whatever the patterns of what may be left over.
    for value in models["axk1"]["classes"].values():
        if "ignore_unexpected" in value:
            value["ignore_unexpected"].remove(r"mlp\.post_mlp_layernorm")
    # The last norm of a converted checkpoint has its name already.
    for transform in conversions["deepseek_v4"]["transforms"]:
        if transform["sources"] == [r"\.norm\."]:
            transform["sources"] = [r"(?<!^model)\.norm\."]
    # Parameters that their modules make in 32 bits.
    for model_type, pattern in (("hunyuan_v1_moe", r"mlp\.gate\.wg\."), ("olmo_hybrid", r"linear_attn\.A_log")):
        for value in models[model_type]["classes"].values():
            value.setdefault("keep_in_fp32_strict", []).append(pattern)


class Table:
    def __init__(self):
        data = json.loads(TABLE_FILE.read_text())
        self.models, self.conversions = data["models"], data["conversions"]
        correct(self.models, self.conversions)
        self.configs = {}
        for path in (SOURCE / "configs").glob("*.json"):
            document = json.loads(path.read_text())
            for model_type in document.get("model_types", []) if path.name != "schema.json" else ():
                self.configs[model_type] = document

    def transforms(self, key):
        entry = self.conversions[key]
        return self.transforms(entry["alias_of"]) if "alias_of" in entry else entry["transforms"]

    def modules(self, model_type):
        """(base model's path, parts): where the models keep them is what only the configs tell."""
        document = self.configs[model_type]
        for names, variant in document.get("variants", {}).items():
            if model_type in names.split(", "):
                document = {**document, **variant}
        return document.get("base", ""), document.get("parts", {})

    def main_classes(self, model_type):
        model = self.models[model_type]
        classes = model.get("classes", {})
        order = [model.get("causal_lm")] + [name for name in classes if name.endswith("ForConditionalGeneration")]
        order += [name for name in classes if classes[name].get("tp_plan")] + [model.get("base")]
        order += [name for name in classes if "PreTrained" not in name]
        return [name for name in order if name in classes]


class Model:
    """A model type, perhaps as one of its classes: its rules and plans, and a checkpoint that uses them."""

    def __init__(self, table, model_type, model_class=None):
        self.table, self.model_type, self.model_class = table, model_type, model_class
        self.base, _ = table.modules(model_type)
        own = table.models[model_type].get("classes", {}).get(model_class, {})
        if own.get("base_model_prefix"):
            self.base = own["base_model_prefix"] if self.base else self.base
        self.rules, self.plans, self.has_ep = [], {"tp": {}, "ep": {}}, False
        self.config = {**reference.SIZES, "model_type": model_type}
        if model_class:
            self.config["architectures"] = [model_class]
        is_base = model_class is not None and model_class == table.models[model_type].get("base")
        self.base = "" if is_base else self.base
        self.visit("", model_type, model_class, set(), not is_base, self.config)
        for data in table.transforms(reference.LEGACY):
            self.rules.append(reference.Rule(data, None, "legacy"))
        lists = own if model_class in table.models[model_type].get("classes", {}) else next(
            (table.models[model_type]["classes"][name] for name in table.main_classes(model_type)), {})
        self.ignored = lists.get("ignore_unexpected", [])

    def visit(self, path, model_type, model_class, claimed, has_head, config):
        conversions, model = self.table.conversions, self.table.models[model_type]
        key = model_class if model_class in conversions else model_type if model_type in conversions else None
        if key is not None and key not in claimed:
            claimed = claimed | {key}
            scope = None if path == "" and has_head else (self.inside(path), self.base)
            for data in self.table.transforms(key):
                self.rules.append(reference.Rule(data, scope, key))
        for name in model.get("sub_configs") or {}:
            config.setdefault(name, dict(reference.SIZES))
        base, parts = self.table.modules(model_type)
        if path == "" and has_head:
            base = self.base
        if has_head:
            head = {}
            for value in model.get("classes", {}).values():
                head.update(value.get("tp_plan", {}))
            self.add_plan(path, head, head)
            if base:
                return self.visit(join(path, base), model_type, model.get("base"), claimed, False, config)
        tp = dict(model.get("tp_plan") or {})
        if tp:
            tp.setdefault("embed_tokens", "embedding_rowwise")
        ep = model.get("ep_plan") or {}
        self.has_ep |= bool(ep)
        self.add_plan(path, tp, reference.ep_over_tp(tp, ep))
        for module, part in parts.items():
            sub, names = config, [part["config"]] if isinstance(part["config"], str) else part["config"]
            for name in names:
                sub = sub.setdefault(name, dict(reference.SIZES))
            part_type = part.get("model_type") or SOME_TYPES[names[-1]]
            if names:
                sub["model_type"] = part_type
            inner = self.table.models[part_type]
            whole = part.get("head", False)
            self.visit(join(path, module), part_type, None if whole else inner.get("base"), claimed, whole, sub)

    def inside(self, path):
        """A path without that of the base model."""
        return path[len(self.base):].lstrip(".") if self.base and (path + ".").startswith(self.base + ".") else path

    def add_plan(self, path, tp, ep):
        for name, rules in (("tp", tp), ("ep", ep)):
            self.plans[name].update({join(path, key): style for key, style in rules.items()})

    # The checkpoint

    def shapes(self):
        """{tensor: shape}"""
        shapes = {}
        for name in sorted(set(self.plans["tp"]) | set(self.plans["ep"])):
            self.add(shapes, parameters_of(name, self.plans))
        self.add(shapes, {join(self.base, "norm.weight"): (6,)})
        for rule in self.rules:
            self.add(shapes, sources_of(rule, self.base))
        return shapes

    def add(self, shapes, more):
        """Puts tensors to the checkpoint, unless they would make it a wrong one."""
        trial = {**more, **shapes}
        try:
            made = self.convert({name: np.zeros(shape, np.int8) for name, shape in trial.items()})
        except (AssertionError, ValueError, IndexError):
            return
        if all(array.size for array in made.values()):
            shapes.update({name: shape for name, shape in more.items() if name not in shapes})

    def convert(self, arrays):
        return reference.convert(self.rules, arrays,
                                 lambda name: any(re.search(pattern, name) for pattern in self.ignored))

    def expected(self, arrays):
        """{(plan, tp, rank, parameter): array}"""
        whole = self.convert(arrays)
        return {(plan, tp, rank, name): reference.cut(self.style(plan, name), name, array, rank, tp)
                for plan in (("tp", "ep") if self.has_ep else ("tp",)) for tp in PLANS[plan] for rank in range(tp)
                for name, array in whole.items()}

    def style(self, plan, name):
        """A checkpoint of the base model alone lacks its path."""
        found = reference.style_of(self.plans[plan], name)
        return reference.style_of(self.plans[plan], join(self.base, name)) if found is None else found


def parameters_of(rule_name, plans):
    """Names and shapes of parameters that a rule of a plan is for."""
    name = rule_name.replace("*", "0")
    if "experts." in name or "grouped_gemm" in (plans["ep"].get(rule_name),):
        inner = (6, 4) if name.endswith("down_proj") else (8, 6)
        return {name: (EXPERTS, 8)} if name.endswith("bias") else {name: (EXPERTS, *inner)}
    if plans["tp"].get(rule_name, "").startswith("embedding"):
        return {f"{name}.weight": (10, 6)}
    return {f"{name}.weight": (6, 8), f"{name}.bias": (6,), f"{name}.scale": (7, 5)}


def sample(source):
    """Some text that a source matches; {} is where its number goes."""
    text = source.replace("*.", "{}.").lstrip("^").rstrip("$")
    while re.search(r"\(\?[=!<](?:[^()]|\([^()]*\))*\)", text):
        text = re.sub(r"\(\?[=!<](?:[^()]|\([^()]*\))*\)", "", text)
    for pattern, example in (("(\\d+)", "1"), ("\\d+", "1"), ("[0-9]", "1"), ("(.+)", "rest"), (".*", "")):
        text = text.replace(pattern, example)
    text = re.sub(r"\[(\w)\w*\]", r"\1", text)
    text = re.sub(r"\((?:\?:)?\^?([^|()]*)(?:\|[^()]*)?\)", r"\1", text)
    return text.replace("\\.", ".")


SHAPES = {"Interleave": (EXPERTS, 8, 6), "Transpose": (EXPERTS, 8, 6)}


def shape_for(rule, name):
    if rule.kind != "convert":
        return (6, 4)
    ops = [operation["op"] for operation in rule.operations]
    params = rule.operations[0]["params"]
    if ops[0] == "Transpose" and params["dim1"] == 1:
        return (4, 6)
    if params.get("check_dims"):  # stored the other way round
        experts, outputs, inputs = reference.parameter_shape(rule.targets[0])
        return (experts, inputs, outputs)
    if ops[0] == "Concatenate" and params["dim"] == 1:
        return (EXPERTS, 4, 6)
    if ops[0] in SHAPES:
        return SHAPES[ops[0]]
    rows = 16 if ops[0] == "Split" else 8 if ops == ["PermuteForRope"] else 4
    if ops[0] == "Chunk":
        rows = len(rule.targets) * (8 if "PermuteForRope" in ops else 4)
    return (rows,) if "bias" in name else (rows, 6)


def sources_of(rule, base):
    """Names and shapes of tensors that a rule takes: of every source, and of every number."""
    scope = "" if rule.scope is None else join(rule.scope[1], rule.scope[0])
    result = {}
    for source in rule.sources:
        text = sample(source)
        numbers = range(4 if any("Ernie" in op["op"] for op in rule.operations) else EXPERTS) if "{}" in text else [0]
        is_anchored = source.startswith("^") or source.startswith("(^|")
        lead = "" if is_anchored else "layers.0" if text.startswith(".") else "layers.0."
        if not is_anchored and rule.scope is None and base:
            lead = f"{base}.{lead}"
        tail = "weight" if text.endswith(".") or not text else "" if re.search(r"(weight|bias|s|_b|_proj)$", text) and \
            rule.kind == "convert" and "Chunk" != rule.operations[0]["op"] else ".weight"
        if re.search(r"(weight|bias|weight_g|weight_v)$", text):
            tail = ""
        for number in numbers:
            name = (f"{scope}." if scope else "") + lead + text.replace("{}", str(number)) + tail
            result[name] = shape_for(rule, name)
    return result


def models(table):
    for model_type in sorted(table.configs):
        if model_type not in table.models:
            continue  # described here alone
        yield Model(table, model_type)
        for name, value in table.models[model_type].get("classes", {}).items():
            if name in table.conversions or value.get("base_model_prefix"):
                yield Model(table, model_type, name)


# Rules that no name can reach: the renaming before this one has taken its text away.
UNUSED = {"minimax_m2: .block_sparse_moe.e_score_correction_bias"}


def arrays_of(shapes):
    """Every element of all tensors has a value of its own."""
    arrays, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        arrays[name] = np.arange(start, start + size, dtype=np.int32).reshape(shape)
        start += size
    return arrays


def held_by_ranks(root, cases, are_parameters=False):
    """{case: {(plan, tp, rank, parameter): array}} as the program has it, or what it refuses a case with.
    cases: {case: (config, arrays)}; are_parameters: the tensors are the model's parameters, and the program is told."""
    for name, (config, arrays) in cases.items():
        (root / name).mkdir()
        save_file(arrays, root / name / "model.safetensors")
        (root / name / "config.json").write_text(json.dumps(config))
        if are_parameters:
            (root / name / "expected.json").write_text(json.dumps({parameter: {} for parameter in arrays}))
    program = BIN.parent / "tests/held_by_ranks"
    result = subprocess.run([str(program), str(root)], env=environment(), capture_output=True, text=True, timeout=250)
    assert result.returncode == 0, result.stderr
    held = {name: {} for name in cases}
    for line in result.stdout.splitlines():
        case, *values = json.loads(line)
        if len(values) == 1:
            held[case] = values[0]
        else:
            plan, tp, rank, name, shape, elements, _ = values
            held[case][plan, tp, rank, name] = np.array(elements, np.int32).reshape(shape)
    return held


def digest(held):
    """Of everything that all ranks hold."""
    if isinstance(held, str):
        return held
    state = hashlib.sha256()
    for key in sorted(held):
        state.update(f"{key} {held[key].shape}".encode())
        state.update(np.ascontiguousarray(held[key], np.int32).tobytes())
    return state.hexdigest()[:16]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{case: (model, arrays)} by the table, and what the program has of each case."""
    if not TABLE_FILE.is_file():
        pytest.skip(f"{TABLE_FILE} is absent")
    cases = {}
    for model in models(Table()):
        name = model.model_type + (f"-{model.model_class}" if model.model_class else "")
        cases[name] = (model, arrays_of(model.shapes()))
    inputs = {name: (model.config, arrays) for name, (model, arrays) in cases.items()}
    return cases, held_by_ranks(tmp_path_factory.mktemp("architectures"), inputs)


def recorded():
    """{case: [config, {tensor: shape}, digest of what the ranks must hold]}: the table's cases where it is absent."""
    return json.loads(gzip.decompress(RECORD.read_bytes()))


def test_every_rank_holds_what_is_recorded(tmp_path):
    record = recorded()
    held = held_by_ranks(tmp_path, {name: (config, arrays_of(shapes)) for name, (config, shapes, _) in record.items()})
    found = {name: digest(held[name]) for name, (_, _, expected) in record.items() if digest(held[name]) != expected}
    assert len(record) > 400
    assert not found, f"{len(found)} of {len(record)} cases are not as recorded, such as {sorted(found)[:8]}"


def test_a_checkpoint_saved_after_conversion_loads_the_same(tmp_path):
    """The model's names, where they are known, keep rules from what has been converted already."""
    record = recorded()
    stored, converted = tmp_path / "stored", tmp_path / "converted"
    stored.mkdir()
    converted.mkdir()
    held = held_by_ranks(stored, {name: (config, arrays_of(shapes)) for name, (config, shapes, _) in record.items()})
    whole = {name: (record[name][0], {parameter: array for (plan, tp, _, parameter), array in found.items()
                                      if (plan, tp) == ("tp", 1)}) for name, found in held.items()}
    again = held_by_ranks(converted, whole, are_parameters=True)
    found = {name: difference(held[name], again[name]) for name in record}
    assert {name: text for name, text in found.items() if text} == {}


def test_the_record_is_the_tables(made):
    """Where the table or this test has changed: REWRITE=1 writes it anew."""
    record = {name: [model.config, {key: list(array.shape) for key, array in arrays.items()},
                     digest(model.expected(arrays))] for name, (model, arrays) in made[0].items()}
    if os.environ.get("REWRITE"):
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_bytes(gzip.compress(json.dumps(record).encode(), mtime=0))
    assert recorded() == record


def difference(expected, got):
    if isinstance(got, str):
        return got
    missing, more = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
    if missing or more:
        return f"missing {missing[:4]} ({len(missing)}), unexpected {more[:4]} ({len(more)})"
    wrong = [key for key in expected if expected[key].shape != got[key].shape or (expected[key] != got[key]).any()]
    shapes = [(expected[key].shape, got[key].shape) for key in wrong[:3]]
    return f"{len(wrong)} differ, such as {wrong[:3]}: {shapes}" if wrong else ""


def test_every_rank_holds_what_the_table_says(made):
    cases, held = made
    found = {name: difference(model.expected(arrays), held[name]) for name, (model, arrays) in cases.items()}
    found = {name: text for name, text in found.items() if text}
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(f"{name}: {text}" for name, text in found.items())


def test_every_rule_of_the_table_is_used(made):
    cases, _ = made
    used, known = set(), set()
    for model, _ in cases.values():
        for rule in model.rules:
            key = f"{rule.where}: {', '.join(rule.sources)}"
            known.add(key)
            if rule.was_used:
                used.add(key)
    assert known - used == UNUSED


@needs_table
def test_what_is_kept_in_32_bits_is_what_the_table_says():
    """Of a type's first class; classes that differ have variants."""
    table = Table()
    for model_type, document in table.configs.items():
        if model_type not in table.models:
            continue
        for names, variant in document.get("variants", {}).items():
            document = {**document, **variant} if model_type in names.split(", ") else document
        value = next((table.models[model_type]["classes"][name] for name in table.main_classes(model_type)), {})
        keep = document.get("keep_in_fp32", {})
        assert keep.get("float16", []) == value.get("keep_in_fp32", []), model_type
        assert keep.get("float16_and_bfloat16", []) == value.get("keep_in_fp32_strict", []), model_type


@needs_table
def test_every_type_of_the_table_that_has_rules_is_known():
    table = Table()
    wanted = {name for name, model in table.models.items() if model.get("tp_plan") or model.get("ep_plan")
              or name in table.conversions}
    assert len(wanted) > 200
    assert wanted <= table.configs.keys()
