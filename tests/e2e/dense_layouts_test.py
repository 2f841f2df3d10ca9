"""Dense models without a plan in the table: what the ranks hold of their fused projections, told by heads. The layouts
are written down here once more, as the models' own code splits what the projection gives."""
import pytest

np = pytest.importorskip("numpy")
from architectures_test import arrays_of, held_by_ranks  # noqa: E402 (they need numpy)

HEADS, D = 4, 2
N = HEADS * D


def part(array, dim, rank, tp):
    """The rank's share of whole indices; all sizes of this test come out even."""
    step = array.shape[dim] // tp
    return np.take(array, range(rank * step, (rank + 1) * step), axis=dim)


def rows(array, rank, tp):
    return part(array, 0, rank, tp)


def columns(array, rank, tp):
    return part(array, 1, rank, tp)


def whole(array, rank, tp):
    return array


def in_layout(*layout, cut):
    """Rows seen in a layout of which one dimension is dealt to the ranks; columns with dim=1."""
    def held(array, rank, tp):
        seen = array.reshape(*layout, *array.shape[1:])
        return part(seen, cut, rank, tp).reshape(-1, *array.shape[1:])
    return held


def in_columns(*layout, cut):
    held = in_layout(*layout, cut=cut)
    return lambda array, rank, tp: np.ascontiguousarray(held(np.ascontiguousarray(array.T), rank, tp).T)


def queries_and_one_head(array, rank, tp):
    """All queries, then k and v of the one head they share, each dealt by rows."""
    queries, key, value = np.split(array, [N, N + D])
    return np.concatenate([rows(queries, rank, tp), rows(key, rank, tp), rows(value, rank, tp)])


def separate(at, q="q_proj", k="k_proj", v="v_proj", o="out_proj"):
    return {**{f"{at}.{name}.weight": ((N, N), rows) for name in (q, k, v)},
            f"{at}.{q}.bias": ((N,), rows), f"{at}.{o}.weight": ((N, N), columns), f"{at}.{o}.bias": ((N,), whole)}


def mlp(up, down):
    return {f"{up}.weight": ((4 * N, N), rows), f"{up}.bias": ((4 * N,), rows),
            f"{down}.weight": ((N, 4 * N), columns), f"{down}.bias": ((N,), whole)}


def embedding(name, head="lm_head.weight"):
    return {name: ((12, N), rows), head: ((12, N), rows)}


THREE_OF_A_HEAD = in_layout(HEADS, 3, D, cut=0)
Q_K_V = in_layout(3, HEADS, D, cut=1)
FALCON = "transformer.h.0.self_attention"
FALCON_REST = {**embedding("transformer.word_embeddings.weight"), f"{FALCON}.dense.weight": ((N, N), columns),
               **mlp("transformer.h.0.mlp.dense_h_to_4h", "transformer.h.0.mlp.dense_4h_to_h"),
               "transformer.h.0.input_layernorm.weight": ((N,), whole)}
BIGCODE_REST = {**embedding("transformer.wte.weight"), "transformer.wpe.weight": ((5, N), whole),
                "transformer.h.0.attn.c_proj.weight": ((N, N), columns),
                **mlp("transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_proj")}
ENCODER = {**separate("bert.encoder.layer.0.attention.self", "query", "key", "value", "unused"),
           "bert.encoder.layer.0.attention.output.dense.weight": ((N, N), columns),
           **mlp("bert.encoder.layer.0.intermediate.dense", "bert.encoder.layer.0.output.dense")}
ENCODER = {name: value for name, value in ENCODER.items() if "unused" not in name}
T5 = {f"{side}.block.0.layer.{n}.{a}.{p}.weight": ((N, N), columns if p == "o" else rows)
      for side, n, a in (("encoder", 0, "SelfAttention"), ("decoder", 0, "SelfAttention"),
                         ("decoder", 1, "EncDecAttention"))
      for p in "qkvo"}

MODELS = {
    "gpt2": ({"model_type": "gpt2", "n_embd": N, "n_head": HEADS}, {
        **embedding("transformer.wte.weight"), "transformer.wpe.weight": ((5, N), whole),
        "transformer.h.0.attn.c_attn.weight": ((N, 3 * N), in_columns(3, HEADS, D, cut=1)),
        "transformer.h.0.attn.c_attn.bias": ((3 * N,), Q_K_V),
        "transformer.h.0.attn.c_proj.weight": ((N, N), rows), "transformer.h.0.attn.c_proj.bias": ((N,), whole),
        "transformer.h.0.mlp.c_fc.weight": ((N, 4 * N), columns), "transformer.h.0.mlp.c_fc.bias": ((4 * N,), rows),
        "transformer.h.0.mlp.c_proj.weight": ((4 * N, N), rows), "transformer.h.0.mlp.c_proj.bias": ((N,), whole)}),
    "gpt_neo": ({"model_type": "gpt_neo", "num_heads": HEADS}, {
        **embedding("transformer.wte.weight"), **separate("transformer.h.0.attn.attention"),
        **mlp("transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_proj")}),
    "gptj": ({"model_type": "gptj", "n_head": HEADS}, {
        **embedding("transformer.wte.weight"), "lm_head.bias": ((12,), rows), **separate("transformer.h.0.attn"),
        **mlp("transformer.h.0.mlp.fc_in", "transformer.h.0.mlp.fc_out")}),
    "codegen": ({"model_type": "codegen", "n_embd": 2 * N, "n_head": 2 * HEADS}, {
        "transformer.h.0.attn.qkv_proj.weight": ((6 * N, 2 * N), in_layout(4, 3, HEADS // 2, D, cut=2)),
        "transformer.h.0.attn.out_proj.weight": ((2 * N, 2 * N), in_columns(4, HEADS // 2, D, cut=1)),
        **mlp("transformer.h.0.mlp.fc_in", "transformer.h.0.mlp.fc_out")}),
    "bloom": ({"model_type": "bloom", "n_head": HEADS}, {
        **FALCON_REST, f"{FALCON}.query_key_value.weight": ((3 * N, N), THREE_OF_A_HEAD),
        f"{FALCON}.query_key_value.bias": ((3 * N,), THREE_OF_A_HEAD)}),
    "falcon, groups": (
        {"model_type": "falcon", "hidden_size": N, "num_attention_heads": HEADS, "num_kv_heads": 2, "multi_query": True,
         "new_decoder_architecture": True},
        {**FALCON_REST, f"{FALCON}.query_key_value.weight": ((N + 4 * D, N), in_layout(2, HEADS // 2 + 2, D, cut=0))}),
    "falcon, one head": (
        {"model_type": "falcon", "hidden_size": N, "num_attention_heads": HEADS, "num_kv_heads": HEADS,
         "multi_query": True, "new_decoder_architecture": False},
        {**FALCON_REST, f"{FALCON}.query_key_value.weight": ((N + 2 * D, N), queries_and_one_head)}),
    "falcon, all heads": (
        {"model_type": "falcon", "hidden_size": N, "num_attention_heads": HEADS, "multi_query": False},
        {**FALCON_REST, f"{FALCON}.query_key_value.weight": ((3 * N, N), THREE_OF_A_HEAD)}),
    "gpt_bigcode, one head": ({"model_type": "gpt_bigcode", "n_embd": N, "n_head": HEADS}, {
        **BIGCODE_REST, "transformer.h.0.attn.c_attn.weight": ((N + 2 * D, N), queries_and_one_head),
        "transformer.h.0.attn.c_attn.bias": ((N + 2 * D,), queries_and_one_head)}),
    "gpt_bigcode, all heads": ({"model_type": "gpt_bigcode", "n_embd": N, "n_head": HEADS, "multi_query": False}, {
        **BIGCODE_REST, "transformer.h.0.attn.c_attn.weight": ((3 * N, N), THREE_OF_A_HEAD)}),
    "mpt": ({"model_type": "mpt", "d_model": N, "n_heads": HEADS}, {
        **embedding("transformer.wte.weight"), "transformer.blocks.0.attn.Wqkv.weight": ((3 * N, N), Q_K_V),
        "transformer.blocks.0.attn.out_proj.weight": ((N, N), columns),
        **mlp("transformer.blocks.0.ffn.up_proj", "transformer.blocks.0.ffn.down_proj")}),
    "opt": ({"model_type": "opt", "num_attention_heads": HEADS}, {
        **embedding("model.decoder.embed_tokens.weight"), **separate("model.decoder.layers.0.self_attn"),
        **mlp("model.decoder.layers.0.fc1", "model.decoder.layers.0.fc2"),
        "model.decoder.embed_positions.weight": ((5, N), whole)}),
    "bert": ({"model_type": "bert", "num_attention_heads": HEADS}, {
        **ENCODER, **embedding("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        "cls.predictions.bias": ((12,), rows), "bert.pooler.dense.weight": ((N, N), whole)}),
    "roberta": ({"model_type": "roberta", "num_attention_heads": HEADS}, {
        **{name.replace("bert.", "roberta.", 1): value for name, value in ENCODER.items()},
        **embedding("roberta.embeddings.word_embeddings.weight", "lm_head.decoder.weight"),
        "lm_head.bias": ((12,), rows)}),
    "bart": ({"model_type": "bart", "d_model": N}, {
        **embedding("model.shared.weight"), "final_logits_bias": ((1, 12), columns),
        **separate("model.encoder.layers.0.self_attn"), **separate("model.decoder.layers.0.encoder_attn"),
        **mlp("model.decoder.layers.0.fc1", "model.decoder.layers.0.fc2")}),
    "t5": ({"model_type": "t5", "d_model": N}, {
        **T5, **embedding("shared.weight"),
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": ((5, HEADS), columns),
        "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": ((4 * N, N), rows),
        "decoder.block.0.layer.2.DenseReluDense.wo.weight": ((N, 4 * N), columns)}),
}


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """(arrays of each model, {model: {(plan, tp, rank, name): array}})"""
    arrays = {model: arrays_of({name: shape for name, (shape, _) in tensors.items()})
              for model, (_, tensors) in MODELS.items()}
    inputs = {model: (MODELS[model][0], arrays[model]) for model in MODELS}
    return arrays, held_by_ranks(tmp_path_factory.mktemp("dense"), inputs)


@pytest.mark.parametrize("tp", (1, 2))
@pytest.mark.parametrize("model", MODELS)
def test_every_rank_holds_whole_heads(held, model, tp):
    arrays, by_model = held
    assert not isinstance(by_model[model], str), by_model[model]
    names = {name for _, ranks, _, name in by_model[model] if ranks == tp}
    assert names == arrays[model].keys()
    for rank in range(tp):
        for name, (_, cut) in MODELS[model][1].items():
            np.testing.assert_array_equal(by_model[model]["tp", tp, rank, name], cut(arrays[model][name], rank, tp),
                                          err_msg=f"{name}, rank {rank}")
