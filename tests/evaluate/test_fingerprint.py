"""`genlip.evaluate.fingerprint`: it follows how a tokenizer splits texts, and nothing else."""

from tokenizers import Tokenizer

from genlip.data.captions import train_tokenizer
from genlip.evaluate.fingerprint import tokenizer_fingerprint


def test_a_tokenizer_is_told_by_how_it_cuts_texts_and_not_by_special_tokens():
    one, other = (train_tokenizer([text] * 3, 270) for text in ("red circles", "blue squares"))
    twin = Tokenizer.from_str(one.to_str())
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(twin) != tokenizer_fingerprint(other)
    twin.add_special_tokens(["<|image_pad|>"])
    twin.enable_truncation(3)
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(twin)
