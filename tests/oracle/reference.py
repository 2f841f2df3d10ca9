"""Tiny random models made, saved and loaded by transformers: what every rank must hold.

    python reference.py OUT MODEL_TYPE...

OUT/TYPE/ckpt is the checkpoint as published ones are laid out. OUT/TYPE/full.safetensors is the model as one process
loads it, under its own names; OUT/TYPE/rank-R.safetensors is what rank R of two (gloo) holds of it by the framework's
tensor parallelism, and OUT/TYPE/placements.json where the framework says these pieces lie.
"""

import json
import pathlib
import sys
import zlib

import torch
import torch.multiprocessing
import transformers
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DistributedConfig

RANKS = 2

# Small, with sizes that tell their dimensions apart. A field that a configuration does not have is left out of it.
SIZES = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1, "bos_token_id": 1,
    "eos_token_id": 2, "sliding_window": 16,
    "pad_token_id": None,  # the row of a padding token would be set to zero after loading
}
MULTIMODAL = {
    "aria": "AriaForConditionalGeneration", "audioflamingo3": "AudioFlamingo3ForConditionalGeneration",
    "aya_vision": "AyaVisionForConditionalGeneration", "cohere2_vision": "Cohere2VisionForConditionalGeneration",
    "cosmos3_omni": "Cosmos3OmniForConditionalGeneration", "deepseek_vl": "DeepseekVLForConditionalGeneration",
    "deepseek_vl_hybrid": "DeepseekVLHybridForConditionalGeneration",
    "exaone4_5": "Exaone4_5_ForConditionalGeneration", "gemma3": "Gemma3ForConditionalGeneration",
    "gemma4_unified": "Gemma4UnifiedForConditionalGeneration", "glm46v": "Glm46VForConditionalGeneration",
    "glm4v": "Glm4vForConditionalGeneration", "glm4v_moe": "Glm4vMoeForConditionalGeneration",
    "glm_ocr": "GlmOcrForConditionalGeneration", "glmasr": "GlmAsrForConditionalGeneration",
    "got_ocr2": "GotOcr2ForConditionalGeneration", "granite_docling": "GraniteDoclingForConditionalGeneration",
    "hunyuan_vl": "HunYuanVLForConditionalGeneration",
    "hyperclovax_vision_v2": "HyperCLOVAXVisionV2ForConditionalGeneration",
    "idefics2": "Idefics2ForConditionalGeneration", "idefics3": "Idefics3ForConditionalGeneration",
    "internvl": "InternVLForConditionalGeneration", "kimi_k25": "Kimi_K25ForConditionalGeneration",
    "lfm2_vl": "Lfm2VlForConditionalGeneration", "lfm3_vl": "Lfm3VlForConditionalGeneration",
    "lighton_ocr": "LightOnOcrForConditionalGeneration", "llava": "LlavaForConditionalGeneration",
    "llava_next": "LlavaNextForConditionalGeneration", "llava_next_video": "LlavaNextVideoForConditionalGeneration",
    "llava_onevision": "LlavaOnevisionForConditionalGeneration", "minicpm_ocr": "MiniCPMOcrForConditionalGeneration",
    "minicpmv4_6": "MiniCPMV4_6ForConditionalGeneration", "minicpmv4_7": "MiniCPMV4_7ForConditionalGeneration",
    "minimax_m3_vl": "MiniMaxM3SparseForConditionalGeneration", "mistral3": "Mistral3ForConditionalGeneration",
    "mistral_large4": "MistralLarge4ForConditionalGeneration",
    "moss_transcribe_diarize": "MossTranscribeDiarizeForConditionalGeneration",
    "musicflamingo": "MusicFlamingoForConditionalGeneration", "ovis2": "Ovis2ForConditionalGeneration",
    "paddleocr_vl": "PaddleOCRVLForConditionalGeneration", "paligemma": "PaliGemmaForConditionalGeneration",
    "qianfan_ocr": "QianfanOCRForConditionalGeneration",
    "qwen2_5_omni_thinker": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen2_audio": "Qwen2AudioForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration", "qwen3_5": "Qwen3_5ForConditionalGeneration",
    "qwen3_5_moe": "Qwen3_5MoeForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen4_exp": "Qwen4ExpForConditionalGeneration", "smolvlm": "SmolVLMForConditionalGeneration",
    "t5gemma": "T5GemmaForConditionalGeneration", "video_llama_3": "VideoLlama3ForConditionalGeneration",
    "video_llava": "VideoLlavaForConditionalGeneration", "vipllava": "VipLlavaForConditionalGeneration",
    "voxtral": "VoxtralForConditionalGeneration", "voxtral_realtime": "VoxtralRealtimeForConditionalGeneration",
}
# Of the parts of a multimodal model that see and hear, these before those above.
SENSES = {
    "image_size": 28, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2, "num_channels": 3,
    "depth": 2, "num_heads": 4, "embed_dim": 32, "num_hidden_layers": 2, "d_model": 32, "encoder_layers": 2, "encoder_ffn_dim": 24,
    "encoder_attention_heads": 4, "num_mel_bins": 8, "max_source_positions": 16, "out_hidden_size": 32,
    "output_dim": 32, "vision_output_dim": 32, "projection_dim": 32, "projector_hidden_size": 32,
    "fullatt_block_indexes": [1], "deepstack_visual_indexes": [0], "num_position_embeddings": 16, "global_head_dim": 8,
}


def sizes_for(config, sizes):
    known = config.to_dict()
    return {name: size for name, size in sizes.items() if name in known and not isinstance(known[name], dict)}


def tiny_config(model_type):
    kind = CONFIG_MAPPING[model_type]
    usual = kind()
    sizes = sizes_for(usual, SIZES)
    for name in kind.sub_configs:
        part = getattr(usual, name, None)
        if part is not None:
            of_part = sizes_for(part, SIZES if "text" in name else {**SIZES, **SENSES})
            sizes[name] = {**of_part, "model_type": part.model_type}
    return kind(**sizes)


def new_model(model_type):
    """The model for generation; of multimodal ones the whole."""
    config = tiny_config(model_type)
    name = MULTIMODAL.get(model_type)
    if not name:
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return getattr(transformers, name)._from_config(config, dtype=torch.bfloat16)


def make_checkpoint(folder, model_type):
    """Every value random, so that no two tensors are equal by chance; saved in several files."""
    model = new_model(model_type)
    random = torch.Generator().manual_seed(zlib.crc32(model_type.encode()))
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=random))
    model.save_pretrained(folder, max_shard_size="30KB")


def tensors_of(model):
    """What is saved of a model by name, each tied parameter once; pieces of a sharded one as this rank holds them."""
    local, placements = {}, {}
    saved = model.state_dict()
    names = [name for name, _ in model.named_parameters()] + [name for name, _ in model.named_buffers()]
    for name in filter(saved.__contains__, names):
        value = saved[name].detach()
        if isinstance(value, DTensor):
            placements[name] = [repr(placement) for placement in value.placements]
            value = value.to_local()
        local[name] = value.contiguous().clone()
    return local, placements


def class_of(folder):
    """The class that was saved there."""
    return getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])


def load_as_rank(rank, out, model_types):
    torch.distributed.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=RANKS)
    for model_type in model_types:
        folder = out / model_type
        try:
            model = class_of(folder / "ckpt").from_pretrained(
                folder / "ckpt", dtype=torch.bfloat16, distributed_config=DistributedConfig(tp_size=RANKS))
            local, placements = tensors_of(model)
            save_file(local, folder / f"rank-{rank}.safetensors")
            (folder / "placements.json").write_text(json.dumps(placements))
        except Exception as error:  # the framework cannot load some of its own models in parallel; the test says which
            (folder / f"rank-{rank}.error").write_text(f"{type(error).__name__}: {error}")
    torch.distributed.destroy_process_group()


def main(out, model_types):
    for model_type in model_types:
        folder = out / model_type
        make_checkpoint(folder / "ckpt", model_type)
        whole = class_of(folder / "ckpt").from_pretrained(folder / "ckpt", dtype=torch.bfloat16)
        save_file(tensors_of(whole)[0], folder / "full.safetensors")
    torch.multiprocessing.spawn(load_as_rank, (out, model_types), nprocs=RANKS)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
