"""Captions: prompt, caption and end -> token ids and which of them are supervised.

In: a tokenizer (a `tokenizer.json`, a repository on the Hub, or one trained here on a corpus) and captions.
Out: token ids, each with a mark whether it is supervised. The prompt is input only; the caption and its end are supervised.
In a conversation, messages of the user are input only, and those of the assistant are supervised.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.decoders import DecodeStream

from genlip.data.examples import Conversation, Turn
from genlip.model.fields import check_fields, shown
from genlip.model.files import expanded, printable
from genlip.model.reading import parse_json, read_text

__all__ = ["CaptionConfig", "Captions", "load_tokenizer", "text_pieces", "train_tokenizer", "usual_end"]

END = "<|im_end|>"
# Limits of a tokenizer.json, far above those of known models: 33 MB, no growth, tokens of 512 spaces.
_TOKENIZER_BYTES, _MOST_GROWTH, _LONGEST_TOKEN = 2**27, 64, 4096
_PROBE = "A probe: 12 ünïts, 一, 😀\n"
_USUAL_ENDS = (END, "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[SEP]")
_MOST_CHARACTERS = 2**20  # limit of a caption; the rest is never tokenized
_MOST_LEARNED = 2**16  # characters of a caption that the training of a tokenizer uses
_LONGEST_WORD = 1000  # longest word in the training of a tokenizer, whose time grows with the square


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Prompt, end and limits of captions.

    Attributes:
        prompt: comes before every caption, without loss; published models use "Describe the image in detail.". May be empty.
        end: comes after every caption, with loss; its first token ends generation.
        max_tokens: longer captions are cut and get no end, so that the model does not learn to stop there.
        lines: which lines of a text are read: "all", the "first", or "any" (a random one in each epoch). For files with one
            caption per line. Empty lines do not count.
    """

    prompt: str = ""
    end: str = f"{END}\n"
    max_tokens: int = 512
    lines: Literal["all", "first", "any"] = "all"

    def __post_init__(self) -> None:
        check_fields(self, "captions.")
        if self.max_tokens < 1:
            raise ValueError(f"captions.max_tokens is {self.max_tokens}: it must be at least 1")
        if not self.end:
            raise ValueError(f"captions.end is empty: a caption needs an end token such as {END!r}, or it never stops")


class Captions:
    """A tokenizer with the settings of captions.

    Attributes:
        tokenizer: of the `tokenizers` library.
        config: prompt, end and limit.
        prompt_ids, end_ids: their token ids.
    """

    def __init__(self, tokenizer: Tokenizer, config: CaptionConfig | None = None, vocab_size: int | None = None) -> None:
        """`vocab_size` of the model, if known: a tokenizer that gives larger ids is refused."""
        tokenizer.no_padding()  # as in `load_tokenizer`: this tokenizer may come from elsewhere
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.config = config or CaptionConfig()
        self.prompt_ids = self.ids(self.config.prompt)
        self.end_ids = self.ids(self.config.end)
        # Texts longer than this are cut anyway, so the rest is not tokenized. The factor allows for normalisation.
        most = 4 * (self.config.max_tokens + 1) * max(map(len, tokenizer.get_vocab()), default=1)
        self._most_characters = min(most, _MOST_CHARACTERS)
        _check_end(tokenizer, self.config.end, self.end_ids)
        if vocab_size is not None:
            _check_vocabulary(tokenizer, vocab_size)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without changes."""
        _check_whole([text])
        with _guarded(f"the tokenizer fails on {text[:40]!r}"):
            return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, caption: str | Conversation) -> tuple[np.ndarray, np.ndarray]:
        """Int64[L] token ids of a caption, and Bool[L], True where they are supervised; see `encode_all`."""
        return self.encode_all([caption])[0]

    def encode_all(self, captions: Sequence[str | Conversation]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Token ids and marks of several captions, tokenized in one call.

        A text becomes prompt, caption, end; caption and end are supervised. A conversation becomes its messages, with an end
        after each supervised one. If its first question is empty or missing, the prompt takes its place. Texts are stripped.
        """
        conversations = [(Turn(caption, learned=True),) if isinstance(caption, str) else caption for caption in captions]
        texts = [turn.text.strip() for turns in conversations for turn in turns]
        ids = iter(self._plain_ids([text[: self._most_characters] for text in texts]))
        cut = iter([len(text) > self._most_characters for text in texts])
        return [self._laid_out([(next(ids), turn.learned, next(cut)) for turn in turns]) for turns in conversations]

    def _laid_out(self, messages: list[tuple[list[int], bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
        """Concatenate messages (token ids, supervised, already cut), up to the limit.

        A message that is cut gets no end, so that the model does not learn to stop there.
        """
        room, tokens, marks = self.config.max_tokens, list(self.prompt_ids), [False] * len(self.prompt_ids)
        if not messages[0][1] and messages[0][0]:  # the conversation has its own question
            tokens, marks = [], []
        for ids, learned, cut in messages:
            end = self.end_ids if learned and len(ids) <= room and not cut else []
            tokens += ids[:room] + end
            marks += [learned] * (min(len(ids), room) + len(end))
            room -= len(ids)
            if room < 0 or cut:
                break
        return np.array(tokens, dtype=np.int64), np.array(marks, dtype=bool)

    def _plain_ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of texts; special tokens in a text are plain characters, so a caption cannot contain its end token."""
        _check_whole(texts)
        self.tokenizer.encode_special_tokens = True
        try:
            with _guarded("the tokenizer fails on a caption"):
                return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            self.tokenizer.encode_special_tokens = False

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, without special tokens."""
        with _guarded("the tokenizer fails on token ids"):
            return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of token ids, piece by piece; each piece ends at the end of a character."""
        return text_pieces(self.tokenizer, ids)

    def piece(self, token_id: int) -> str:
        """One token as text, with its leading space; incomplete characters appear as U+FFFD."""
        with _guarded(f"the tokenizer fails on token {token_id}"):
            return self.tokenizer.decode([token_id], skip_special_tokens=False)


def text_pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """The text of token ids without special tokens, piece by piece; each piece ends at the end of a character."""
    text, said, tokens = DecodeStream(skip_special_tokens=True), "", []
    for token in ids:
        tokens.append(token)
        if piece := text.step(tokenizer, token):
            said += piece
            yield piece
    if rest := tokenizer.decode(tokens, skip_special_tokens=True)[len(said) :]:
        yield rest  # bytes of an incomplete character


def _check_whole(texts: Iterable[str]) -> None:
    """Refuse texts that UTF-8 cannot encode: other bytes in names and on command lines, and `"\\ud800"` in a JSON."""
    for text in texts:
        if printable(text) != text:
            raise ValueError(
                f"{printable(text)[:40]!r}: half a character, or bytes that are no UTF-8; write it anew in UTF-8"
            )


def train_tokenizer(corpus: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` tokens, learned from captions; every text can be encoded.

    Digits are single tokens, so numbers are read digit by digit. Raises ValueError for a `vocab_size` below 257: 256 bytes
    and the end token.
    """
    if vocab_size < 257:
        raise ValueError(f"a byte-level vocabulary needs at least 257 tokens (256 bytes and the end), not {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain.from_iterable(map(_learnable, corpus)), trainer)
    return tokenizer


def _learnable(text: str) -> list[str]:
    """A text for the training of a tokenizer: cut to a maximum length, very long words split."""
    text = text[:_MOST_LEARNED]
    if max(map(len, text.split()), default=0) <= _LONGEST_WORD:
        return [text]
    return [text[start : start + _LONGEST_WORD] for start in range(0, len(text), _LONGEST_WORD)]


def usual_end(tokenizer: Tokenizer) -> str:
    """The default end of captions for a tokenizer: the first known end token that it has, else that of `CaptionConfig`."""
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return next((f"{end}\n" if end == END else end for end in _USUAL_ENDS if end in special), f"{END}\n")


def load_tokenizer(path_or_hub_id: str | os.PathLike[str]) -> Tokenizer:
    """A tokenizer from a `tokenizer.json`, a folder that holds one, or the Hub ("Qwen/Qwen3-0.6B" is the published one)."""
    path = expanded(path_or_hub_id)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        file = _download(os.fspath(path_or_hub_id), file)
    text = read_text(file, _TOKENIZER_BYTES)
    _check_growth(parse_json(text, f"{file}: not a tokenizer.json"), file)
    with _silent(), _guarded(f"{file}: not a tokenizer.json"):
        tokenizer = Tokenizer.from_str(text)
        tokenizer.no_padding()  # settings that a file may contain: they would change captions
        tokenizer.no_truncation()
        with suppress(Exception):  # it may lack characters of the probe; panics are not Exceptions
            tokenizer.encode(_PROBE, add_special_tokens=False)
    return tokenizer


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress what the library itself writes to standard error: a page for each panic."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _guarded(saying: str) -> Iterator[None]:
    """Turn the library's bare Exceptions and panics (which are no Exceptions) into a ValueError that begins with
    `saying`."""
    try:
        yield
    except BaseException as error:
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise ValueError(f"{saying}: {' '.join(str(error).split())[:300]}") from None
        raise


def _check_growth(stored: Any, file: Path) -> None:
    """Refuse a tokenizer that makes short texts very long: the factors of successive replacements multiply."""
    parts = stored if isinstance(stored, dict) else {}
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        growth, left = 1, [parts.get(part)]
        while left:
            one = left.pop()
            left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
            if isinstance(one, dict) and one.get("type") == "Replace":
                growth *= max(1, len(str(one.get("content", ""))))
            growth *= 2 if isinstance(one, dict) and one.get("type") == "ByteLevel" else 1  # a letter for each byte
        if growth > _MOST_GROWTH:
            raise ValueError(f"{file}: refused: its {part} makes a text up to {growth:,} times as long")
    model = parts.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    pairs = vocabulary if isinstance(vocabulary, list) else []
    names = vocabulary if isinstance(vocabulary, dict) else [pair[0] for pair in pairs if isinstance(pair, list) and pair]
    if (longest := max((len(str(name)) for name in names), default=0)) > _LONGEST_TOKEN:
        raise ValueError(f"{file}: refused: it has a token of {longest:,} characters; the limit is {_LONGEST_TOKEN:,}")


def _download(name: str, file: Path) -> Path:
    if file.suffix == ".json" or name.count("/") != 1 or name.startswith((".", "/", "~")):
        sought = Path(name) if file == expanded(name) else file  # as the user wrote it
        raise FileNotFoundError(
            f"{sought}: no such tokenizer; need a tokenizer.json, a folder with one, or a Hub id owner/name"
        )
    from huggingface_hub import hf_hub_download

    from genlip.model.download import failures, reason  # here: it imports PyTorch, which captions do not need

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except failures() as error:
        raise FileNotFoundError(
            f"{name}: the Hugging Face Hub did not give its tokenizer.json: {reason(error, name)}"
        ) from error


def _check_end(tokenizer: Tokenizer, end: str, end_ids: list[int]) -> None:
    special = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}
    if not end_ids or not end.startswith(special.get(end_ids[0], "\0")):
        raise ValueError(
            f"captions.end is {shown(end)}, which does not begin with a special token of the tokenizer; "
            f"choose one of {', '.join(map(shown, sorted(special.values())[:10])) or 'none (it has no special tokens)'}"
        )


def _check_vocabulary(tokenizer: Tokenizer, vocab_size: int) -> None:
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    token, largest = max(vocabulary.items(), key=lambda item: item[1])
    if largest >= vocab_size:
        raise ValueError(
            f"token {token!r} has id {largest}, but the model's vocabulary ends at {vocab_size - 1}; "
            f"raise model.vocab_size to at least {largest + 1} or use the tokenizer the model was trained with"
        )
