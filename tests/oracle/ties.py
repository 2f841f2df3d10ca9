"""Which parameters transformers ties in models that state it by patterns or modules.

    python ties.py OUT.json.gz

{class: {"tied": patterns in order, "names": of all parameters, "expanded": {dependent: source}}}, of models of default
size on the meta device. tests/fixtures/ties.json.gz is this file for the versions in requirements.txt.
"""

import gzip
import json
import pathlib
import sys

import torch
import transformers

CLASSES = ("DFineForObjectDetection", "GroundingDinoForObjectDetection", "IBertForMaskedLM",
           "MMGroundingDinoForObjectDetection", "PPDocLayoutV3Model", "RTDetrV2ForObjectDetection", "SamModel",
           "SamHQModel", "T5Gemma2Model")


def ties_of(name):
    kind = getattr(transformers, name)
    config = kind.config_class()
    config.tie_word_embeddings = True
    with torch.device("meta"):
        model = kind(config)
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    names |= {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {"tied": list(kind._tied_weights_keys.items()), "names": sorted(names),
            "expanded": model.get_expanded_tied_weights_keys()}


def main(out):
    found = {name: ties_of(name) for name in CLASSES}
    pathlib.Path(out).write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
