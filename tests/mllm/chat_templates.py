"""Chat templates written by hand in the forms of well-known models, and small tokenizers for them."""

import json
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHATML_TURNS = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful assistant.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""  # as SmolLM2

QWEN = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Qwen, created by hand. You are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

# Thoughts are removed from earlier answers, and the last one gets an empty thought, as Qwen3 does.
THINKING = """\
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}
        {%- if loop.last %}{% set content = '<think>\\n\\n</think>\\n\\n' + content %}{% endif %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}
"""

LLAMA3 = """\
{% set loop_messages = messages %}{% for message in loop_messages %}\
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>

'+ message['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>

' }}{% endif %}"""

# A system message is part of the first question; the tokens of [INST] are plain text, and a space comes before an answer.
MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\\n\\n' %}{% set rest = messages[1:] %}
{%- else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- ' [INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""

# A system message is part of the last question: turns are no prefixes of the dialogue.
MISTRAL_LAST = """\
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\\n\\n' %}{% set rest = messages[1:] %}
{%- else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if message['role'] == 'user' %}
        {%- set final = loop.last or (loop.index0 == rest | length - 2 and rest[-1]['role'] == 'assistant') %}
        {{- '[INST] ' + (system if final else '') + message['content'] + '[/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}
"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model
' }}{% endif %}"""

# The text ends with a token of its own once no question follows.
PHI = """\
{% for message in messages %}{{ '<|' + message['role'] + '|>
' + message['content'] + '<|end|>
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% else %}{{ eos_token }}{% endif %}"""

CORPUS = [
    "What is in this image? A cat sits on a red chair, and two dogs run.",
    "You are a helpful assistant. You are Qwen, created by hand.",
    "user assistant system model INST [INST] [/INST] question answer first second\n\n",
    "How many dogs are there? There are two. Is this a table? Yes. No.\n",
    "Answer with one word. Straße über 東京, naïve café, ελληνικά.\n",
]
_SPLIT = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)


def _byte_level(special):
    """As Qwen2.5 and Llama-3: a full stop and the line break after it may be one token."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    backend.train_from_iterator(CORPUS * 3 + ["Yes.\n", "cats.\n"] * 9, trainer)
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return backend


def _sentencepiece(special, legacy):
    """As Mistral: spaces are ▁, unknown characters bytes. `legacy` puts a ▁ before every piece of text, else the first."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=first, show_progress=False)
    backend.train_from_iterator([line.replace("\n", "") for line in CORPUS] * 3, trainer)
    stored = json.loads(backend.to_str())
    stored["added_tokens"] = stored["added_tokens"][:3]  # bytes are no special tokens
    trained = Tokenizer.from_str(json.dumps(stored))
    if legacy:
        trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        trained.pre_tokenizer = None
    trained.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return trained


@cache
def _backend(kind):
    """(Tokenizer, arguments of the fast tokenizer) of a form."""
    if kind == "chatml":
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"]
        return _byte_level(special), {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    if kind == "llama3":
        special = [
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|end_of_text|>",
            "<image>",
        ]
        backend = _byte_level(special)
        _put_first(backend, "<|begin_of_text|>")
        return backend, {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    if kind == "gemma":
        backend = _sentencepiece(["<image>"], legacy=False)
        backend.add_tokens([AddedToken(text, normalized=False) for text in ("<start_of_turn>", "<end_of_turn>")])
        _put_first(backend, "<s>")
        return backend, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if kind == "phi":
        backend = _sentencepiece(["<image>", "<|endoftext|>"], legacy=True)
        backend.add_special_tokens([AddedToken(f"<|{name}|>", rstrip=True, normalized=False) for name in
                                    ("user", "assistant", "system", "end")])  # fmt: skip
        return backend, {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    backend = _sentencepiece(["<image>"], legacy=kind == "mistral legacy")
    _put_first(backend, "<s>")
    return backend, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def _put_first(backend, token):
    backend.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, backend.token_to_id(token))]
    )


def tokenizer_of(kind, template):
    """A new tokenizer with a chat template; kinds are chatml, llama3, gemma, phi, mistral and "mistral legacy"."""
    backend, arguments = _backend(kind)
    copy = Tokenizer.from_str(backend.to_str())
    return PreTrainedTokenizerFast(tokenizer_object=copy, chat_template=template, **arguments)


FORMS = {
    "smollm": ("chatml", CHATML_TURNS),
    "qwen": ("chatml", QWEN),
    "thinking": ("chatml", THINKING),
    "llama3": ("llama3", LLAMA3),
    "mistral": ("mistral", MISTRAL),
    "mistral legacy": ("mistral legacy", MISTRAL),
    "gemma": ("gemma", GEMMA),
    "phi": ("phi", PHI),
}
