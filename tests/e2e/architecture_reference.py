"""The conversion and cutting of checkpoints spelt out over whole arrays, from the table of architectures: names are
renamed and converted one after the other, arrays are stacked, joined and cut. Shares nothing with the program or its
configs but the paths at which models keep their sub-models, which the table does not have."""

import re

import numpy as np

SIZES = {
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2, "hidden_size": 6, "num_experts": 2,
    "num_local_experts": 2, "n_routed_experts": 2, "moe_num_experts": 2, "moe_intermediate_size": 4,
    "intermediate_size": 8, "split_ngram_parts": 2, "num_heads": 4,
}
STYLES = {"colwise_gather_output": "colwise", "colwise_rep": "colwise", "rowwise_split_input": "rowwise",
          "rowwise_rep": "rowwise"}
LEGACY = "legacy"


# Patterns


def compiled(source):
    """A source of the table as a regular expression of this module."""
    regex = source.replace("*.", r".*\.")
    return regex + r"(?!\w)" if source[-1:].isalnum() else regex


def replacement_text(target):
    """A target as replacement text."""
    target = target[1:] if target.startswith("^") else target
    target = re.sub(r"\(\?[=!<][^)]*\)", "", target).replace("\\.", ".")
    return re.sub(r"\((?!\?)[^)]*\)", r"\\1", target, count=1)


class Rule:
    def __init__(self, data, scope, where):
        self.kind, self.sources = data["kind"], data["sources"]
        self.targets = [replacement_text(target) for target in data["targets"]]
        self.operations = data.get("operations", [])
        self.offset = data.get("offset", 0)
        self.scope = scope        # None, or the path below which it holds, and the path of the base model
        self.where = where        # for what is said about it
        self.was_used = False
        order = sorted(range(len(self.sources)), key=lambda i: -len(self.sources[i]))
        self.pattern = re.compile("|".join(f"(?P<s{i}>{compiled(self.sources[i])})" for i in order))

    def find(self, name):
        """(start and end of the match in the name, index of the source, its first group); None if it does not match."""
        skipped = 0
        if self.scope is not None:
            path, base = self.scope
            for prefix in (f"{base}.{path}." if base and path else f"{base}." if base else None,
                           f"{path}." if path else ""):
                if prefix is not None and name.startswith(prefix):
                    skipped = len(prefix)
                    break
            else:
                return None
        match = self.pattern.search(name[skipped:])
        if not match:
            return None
        self.was_used = True
        index = next(i for i in range(len(self.sources)) if match.group(f"s{i}") is not None)
        own = re.compile(compiled(self.sources[index])).search(name[skipped:], match.start())
        groups = own.groups() if own else ()
        return skipped + match.start(), skipped + match.end(), index, groups[0] if groups else None

    def guard(self, names):
        return self.kind != "group_rename" or any((hit := self.find(name)) and hit[2] == 0 for name in names)

    def rename(self, name):
        hit = self.find(name)
        if hit is None:
            return name
        start, end, index, group = hit
        target = self.targets[index if self.kind == "group_rename" else 0]
        if group is not None:
            target = target.replace("\\1", str(int(group) + self.offset) if self.offset else group)
        return name[:start] + target + name[end:]


# Operations on whole arrays: {key: [arrays]}


def chunks(array, dim, count):
    step = -(-array.shape[dim] // count)
    return [np.take(array, range(min(i * step, array.shape[dim]), min((i + 1) * step, array.shape[dim])), axis=dim)
            for i in range(count)]


def interleaved(array, dim, groups, inverse):
    shape = array.shape
    length = shape[dim] // groups
    inner = (2, length // 2) if inverse else (length // 2, 2)
    split = array.reshape(shape[:dim] + (groups, *inner) + shape[dim + 1:])
    return np.swapaxes(split, dim + 1, dim + 2).reshape(shape)


def run(operation, buckets, rule, sizes):
    op, params = operation["op"], operation["params"]
    dim = params.get("dim", 0)
    first = next(iter(buckets.values()))
    if op == "MergeModulelist":
        merged = {key: [np.stack(arrays, axis=dim)] for key, arrays in buckets.items()}
        return {rule.targets[0]: next(iter(merged.values()))} if len(merged) == len(rule.targets) == 1 else merged
    if op == "Concatenate":
        return {rule.targets[0]: [np.concatenate([array for arrays in buckets.values() for array in arrays], axis=dim)]}
    if op == "Chunk":
        return {target: [part] for target, part in zip(rule.targets, chunks(first[0], dim, len(rule.targets)))}
    if op == "Split":
        heads = [SIZES["num_attention_heads"]] + [SIZES["num_key_value_heads"]] * 2
        ends = np.cumsum(np.array(heads) * SIZES["head_dim"])[:-1]
        return {target: [part] for target, part in zip(rule.targets, np.split(first[0], ends, axis=dim))}
    if op == "Interleave":
        return {rule.targets[0]: [interleaved(first[0], dim, 1, params.get("inverse"))]}
    if op == "PermuteForRope":
        names = params.get("permute_layer_names")
        heads = SIZES["num_attention_heads"]
        permuted = {key: [interleaved(arrays[0], 0, heads, params.get("inverse"))
                          if arrays[0].ndim < 3 and (not names or any(name in key for name in names)) else arrays[0]]
                    for key, arrays in buckets.items()}
        return {rule.targets[0]: next(iter(permuted.values()))} if len(permuted) == len(rule.targets) == 1 else permuted
    if op == "Transpose":
        array = first[0]
        if not params.get("check_dims") or array.shape != parameter_shape(rule.targets[0]):
            array = np.swapaxes(array, params["dim0"], params["dim1"])
        return {rule.targets[0]: [array]}
    if op == "ErnieFuseAndSplitTextVisionExperts":
        count = len(rule.targets)
        result = {}
        for k, target in enumerate(rule.targets):
            groups = [arrays[k * -(-len(arrays) // count):(k + 1) * -(-len(arrays) // count)]
                      for arrays in buckets.values()]
            stacks = [np.stack(group, axis=params["stack_dim"]) for group in groups]
            result[target] = [np.concatenate(stacks, axis=params["concat_dim"])]
        return result
    raise NotImplementedError(op)


def parameter_shape(target):
    """Of the stacked experts of qwen3_vl_moe."""
    if target.endswith("gate_up_proj"):
        return (SIZES["num_experts"], 2 * SIZES["moe_intermediate_size"], SIZES["hidden_size"])
    return (SIZES["num_experts"], SIZES["hidden_size"], SIZES["moe_intermediate_size"])


# Whole checkpoints


def natural(name):
    return [(0, int(part)) if part.isdigit() else (1, part) for part in name.split(".")]


def convert(rules, tensors, is_ignored=lambda name: False):
    """{parameter: array} of a whole model."""
    names = {name: name for name in sorted(tensors, key=natural)}
    for rule in rules:
        if rule.kind != "convert" and rule.guard(names.values()):
            names = {stored: rule.rename(name) for stored, name in names.items()}
    result, entries = {}, {}
    for stored, name in names.items():
        rule = next((rule for rule in rules if rule.kind == "convert" and rule.find(name)), None)
        if rule is None:
            if not is_ignored(name):
                assert name not in result, f"{name} twice"
                result[name] = tensors[stored]
            continue
        start, end, index, group = rule.find(name)
        place = (name[:start], name[end:], group)
        if is_ignored(name[:start] + with_group(rule.targets[0], group) + name[end:]):
            continue
        entry = entries.setdefault((rules.index(rule), place), {source: [] for source in rule.sources})
        entry[rule.sources[index]].append(tensors[stored])
    for (index, (prefix, suffix, group)), buckets in entries.items():
        rule = rules[index]
        for operation in rule.operations:
            buckets = run(operation, buckets, rule, SIZES)
        for target, arrays in buckets.items():
            name = prefix + with_group(target, group) + suffix
            assert name not in result, f"{name} twice"
            result[name] = arrays[0]
    return result


def with_group(target, group):
    return target if group is None else target.replace("\\1", group)


# Cutting


def piece(array, dim, rank, ranks):
    step = -(-array.shape[dim] // ranks)
    size = array.shape[dim]
    return np.take(array, range(min(rank * step, size), min((rank + 1) * step, size)), axis=dim)


def cut(style, name, array, rank, ranks):
    style, nd = STYLES.get(style, style), array.ndim
    if style == "colwise":
        return piece(array, max(nd - 2, 0), rank, ranks)
    if style == "rowwise":
        return array if name.endswith(".bias") or name == "bias" else piece(array, nd - 1, rank, ranks)
    if style in ("embedding_rowwise", "grouped_gemm"):
        return piece(array, 0, rank, ranks)
    if style == "embedding_colwise":
        return piece(array, 1, rank, ranks)
    if style in ("packed_colwise", "packed_rowwise"):
        if nd == 1:
            return piece(array, 0, rank, ranks) if style == "packed_colwise" else array
        dim = nd - 2 if style == "packed_colwise" else nd - 1
        return np.concatenate([piece(half, dim, rank, ranks) for half in chunks(array, dim, 2)], axis=dim)
    return array


def general(name):
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def style_of(plan, name):
    key = general(name)
    return plan.get(key, plan.get(key.rpartition(".")[0]))


def ep_over_tp(tp, ep):
    """TP rules on a module that an EP rule names, and below it, do not hold."""
    kept = {key: style for key, style in tp.items()
            if not any(key == name or key.startswith(name + ".") for name in ep)}
    return {**kept, **ep}
