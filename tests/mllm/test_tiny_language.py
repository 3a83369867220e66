"""The language model that needs no download."""

from genlip.mllm.tiny_language import tiny_config, tiny_tokenizer

TEXTS = ["a red circle and the number 12", "two green squares"] * 20


def test_every_text_is_encoded_and_decoded():
    tokenizer = tiny_tokenizer(TEXTS)
    for text in ("a red circle", "naïve 一 😀", "12"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer) <= tiny_config().vocab_size


def test_the_chat_template_is_chatml():
    text = tiny_tokenizer(TEXTS).apply_chat_template(
        [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "this"}], tokenize=False
    )
    assert text == "<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\nthis<|im_end|>\n"


def test_special_tokens_are_single_tokens():
    tokenizer = tiny_tokenizer(TEXTS)
    for token in ("<|im_start|>", "<|im_end|>", "<image>"):
        assert len(tokenizer(token).input_ids) == 1
    assert tokenizer.eos_token == "<|im_end|>"
