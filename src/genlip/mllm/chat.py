"""Chats: dialogues -> token ids of a language model, and which of them have a loss.

In: a dialogue, and the number of visual tokens of each of its images. Out: token ids, with the image token repeated once for
each visual token at the place of each mark, and marks of the supervised ones; or, without the last answer, a prompt.
The language model's own chat template writes the turns. The whole text is tokenized at once. Only a token that would reach
from a prompt into its answer is divided there, so that a prompt has the ids that its dialogue begins with; in plain form
also one that would reach into the line break after an answer, because that ends generation. Special tokens in a message are
plain characters.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from genlip.data.dialogues import IMAGE_MARK, Dialogue, Message
from genlip.data.examples import Unusable
from genlip.mllm.control_tokens import BREAK, ControlTokenizer, Tokens
from genlip.mllm.run import ChatConfig
from genlip.mllm.templates import PLAIN_TEMPLATE, ChatTemplate, Segment, added_first, check_texts, folder_template

__all__ = ["Chat", "Encoded", "folder_template"]

log = logging.getLogger(__name__)

_START, _END, _HEADER = "<|im_start|>", "<|im_end|>", "<|im_start|>assistant\n"  # of ChatML


class Encoded(NamedTuple):
    """A dialogue as the language model reads it.

    Attributes:
        token_ids: Int64[L], with the image token at each place of a visual token.
        supervised: Bool[L], True where the token is learned; never at the first, which nothing precedes.
        cut: number of tokens of system and user texts that were left out for lack of room.
    """

    token_ids: np.ndarray
    supervised: np.ndarray
    cut: int = 0


class _Text(NamedTuple):
    """A dialogue as tokens, each image still one of them.

    Attributes:
        ids: Int64[n].
        answer: Bool[n], whether the token belongs to an answer.
        message: Int64[n], number of the text of system or user that holds the token; -1 for all other tokens, and images.
        places: the first character of each token and the one after the last, Int64[n] both.
    """

    ids: np.ndarray
    answer: np.ndarray
    message: np.ndarray
    places: tuple[np.ndarray, np.ndarray]


class Chat:
    """Encodes the dialogues and prompts of a language model. It works after pickling.

    Attributes:
        config: template, system text and labels.
        image_token_id: id of the token at the places of visual tokens.
        end_ids: ids of tokens that end an answer: the template's, and the end of text of the tokenizer.
    """

    def __init__(self, tokenizer: Any, config: ChatConfig, image_token: str) -> None:
        """`tokenizer` is a fast one of Transformers; `image_token` one of its special tokens.

        Raises ValueError for a tokenizer or a chat template that cannot be used as the settings say.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} is no fast tokenizer: save one with a tokenizer.json in its folder"
            )
        if IMAGE_MARK in config.system:
            raise ValueError(f"chat.system holds {IMAGE_MARK}: images are part of dialogues, remove the mark")
        check_texts("chat.system", [Message("system", config.system)])
        self.config, self._tokenizer, self._image_token = config, tokenizer, image_token
        self._template = ChatTemplate(tokenizer, config.system) if config.template == "chat" else None
        self._control = self._template.control if self._template else ControlTokenizer(tokenizer)
        if image_token not in self._control.ids:
            raise ValueError(f"{image_token!r} is no special token of the tokenizer: add it as one first")
        self.image_token_id = self._control.ids[image_token]
        self._bos = self._template.bos if self._template else added_first(tokenizer)
        self.end_ids = self._ends()
        if config.labels == "llava":
            self._check_chatml()
        if self._template and "strftime_now" in self._template.source:
            log.warning("the chat template may write today's date: a run that goes on tomorrow would read other tokens")

    def _ends(self) -> tuple[int, ...]:
        """Ids that end an answer, that of the template first."""
        end = self._template.end if self._template else "\n"
        text = self._text("the end of an answer", [Segment("1.", False, True), Segment(end, True, True)])
        ends = [int(number) for number, start in zip(text.ids[-1:], text.places[0][-1:], strict=True) if start >= 2]
        eos = self._tokenizer.eos_token_id
        return tuple(dict.fromkeys(ends if eos is None else [*ends, eos]))

    def _check_chatml(self) -> None:
        """Raises ValueError if the labels of LLaVA cannot be told."""
        if self._template is None or not self._template.chatml:
            what = "the chat template of the language model is another" if self._template else "chat.template is plain"
            raise ValueError(f"chat.labels llava is defined for ChatML templates, and {what}: set chat.labels to answers")
        if len(self._control.encode("\n").ids) != 1:
            raise ValueError("chat.labels llava needs a tokenizer with a token for a line break: set chat.labels to answers")

    def encode(self, dialogue: Dialogue, image_tokens: Sequence[int] = (), room: int | None = None) -> Encoded:
        """Token ids of a dialogue whose images have so many visual tokens each.

        If more than `room` ids are needed, the longest texts of system and user lose tokens from their middle. Raises
        `Unusable` if that is not enough, if no token is supervised, if marks and images differ, for texts that are none,
        and for what the chat template refuses or changes.
        """
        key, messages = dialogue.key, self._with_system(dialogue.messages)
        if len(image_tokens) != len(dialogue.images):
            raise ValueError(f"{key}: {len(image_tokens)} numbers of visual tokens for {len(dialogue.images)} images")
        _check_marks(key, messages, len(dialogue.images))
        text = self._text(key, self._segments(key, messages))
        supervised = self._supervised(text)
        if not supervised.any():
            raise Unusable("no answer", f"{key}: no token is supervised: the dialogue has no answer")
        lengths = self._lengths(text, image_tokens)
        kept = _kept(key, text, lengths, int(lengths.sum()) if room is None else room)
        lengths = lengths * kept
        return Encoded(np.repeat(text.ids, lengths), np.repeat(supervised, lengths), int((~kept).sum()))

    def prompt(self, messages: Sequence[Message], image_tokens: Sequence[int] = ()) -> np.ndarray:
        """Int64[L]: the ids that come before the answer to messages, whose images have so many visual tokens each.

        Raises ValueError if the last message is not from the user, and `Unusable` as `encode` does.
        """
        key = "the question"
        if not messages or messages[-1].role != "user":
            raise ValueError("the last message must be from the user: it is what the model answers")
        messages = self._with_system(messages)
        _check_marks(key, messages, len(image_tokens))
        text = self._text(key, self._segments(key, messages, prompt=True))
        if not len(text.ids):
            raise ValueError("chat.template plain reads images, not questions: give an image")
        return np.repeat(text.ids, self._lengths(text, image_tokens))

    def folder_template(self) -> str:
        """The chat template of the processor of a LLaVA folder: it writes what `prompt` writes."""
        source = self._template.source if self._template else PLAIN_TEMPLATE
        return folder_template(source, self._image_token, self.config.system, bos=bool(self._bos))

    def _with_system(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, after the system's of the settings if they have none."""
        if self.config.system and not (messages and messages[0].role == "system"):
            return [Message("system", self.config.system), *messages]
        return list(messages)

    def _segments(self, key: str, messages: list[Message], prompt: bool = False) -> list[Segment]:
        """Segments of a dialogue or of a prompt."""
        check_texts(key, messages)
        if self._template:
            return self._template.segments(key, messages, prompt)
        found = [Segment(self._bos, True)]
        for message in messages:
            if message.role == "assistant":
                found += [Segment(message.text, False, True), Segment("\n", True, True)]
            else:
                found.append(Segment(IMAGE_MARK * message.text.count(IMAGE_MARK), False))
        return [segment for segment in found if segment.text]

    def _text(self, key: str, segments: list[Segment]) -> _Text:
        """Tokenize a dialogue as a whole, without tokens that reach into an answer."""
        image = self._control.quote(self._image_token)
        texts = [self._control.quote(one.text) if one.written else one.text.replace(IMAGE_MARK, image) for one in segments]
        tokens, begin = self._encoded(key, texts), 0
        for n, segment in enumerate(segments):
            goes_on = n > 0 and segments[n - 1].answer and self._template is not None  # plain: its line break ends an answer
            if segment.answer and not goes_on and ((tokens.starts < begin) & (tokens.ends > begin)).any():
                texts[n] = BREAK + texts[n]
                tokens = self._encoded(key, texts)
            begin += len(texts[n])
        return self._located(tokens, segments, [len(text) for text in texts])

    def _encoded(self, key: str, texts: list[str]) -> Tokens:
        try:
            return self._control.encode("".join(texts))
        except Unusable as error:
            raise Unusable(error.reason, f"{key}: {error}") from None

    def _located(self, tokens: Tokens, segments: list[Segment], lengths: list[int]) -> _Text:
        """Tokens with what they belong to; `lengths` in characters of the segments."""
        owner = np.repeat(np.arange(len(segments)), np.array(lengths, np.int64))  # of each character
        first = np.minimum(tokens.starts, max(0, len(owner) - 1))
        last = owner[np.maximum(tokens.ends - 1, first)]  # a token may stand for no character
        first = owner[first]
        answer = np.array([one.answer for one in segments], bool)
        message = np.array([-1 if one.written or one.answer else n for n, one in enumerate(segments)], np.int64)[first]
        message[(first != last) | (tokens.ids == self.image_token_id)] = -1
        return _Text(tokens.ids, answer[first] | answer[last], message, (tokens.starts, tokens.ends))

    def _supervised(self, text: _Text) -> np.ndarray:
        """Bool[n]: the tokens with a loss."""
        learned = text.answer.copy()
        if self.config.labels == "llava":
            header = len(self._control.encode(self._control.quote(_HEADER)).ids)
            for first in np.flatnonzero(text.answer & ~np.append(False, text.answer[:-1])):
                learned[first - header : first] = True
            everywhere = [self._control.ids[_START], self._control.ids[_END], *self._control.encode("\n").ids]
            learned |= np.isin(text.ids, everywhere)
        learned &= text.ids != self.image_token_id
        learned[:1] = False
        return learned

    def _lengths(self, text: _Text, image_tokens: Sequence[int]) -> np.ndarray:
        """Int64[n]: how many ids each token stands for."""
        lengths = np.ones(len(text.ids), np.int64)
        lengths[text.ids == self.image_token_id] = image_tokens
        return lengths


def _check_marks(key: str, messages: Sequence[Message], images: int) -> None:
    marks = sum(message.text.count(IMAGE_MARK) for message in messages)
    if marks != images:
        raise Unusable(
            "mark without image" if marks > images else "image without mark",
            f"{key}: {marks} marks {IMAGE_MARK} in its texts and {images} images: each image needs one mark at its place",
        )


def _kept(key: str, text: _Text, lengths: np.ndarray, room: int) -> np.ndarray:
    """Bool[n]: the tokens that are kept so that at most `room` ids remain. The longest texts are shortened to one length."""
    kept = np.ones(len(text.ids), bool)
    left = room - int(lengths[text.message < 0].sum())
    if left < 0:
        answers = int(lengths[text.answer].sum())
        others = room - left - answers
        raise Unusable(
            "too large for a pack",
            f"{key}: {answers} tokens of answers and {others} of images and the chat template, but room for {room} in all; "
            "raise packing.max_tokens",
        )
    texts = [np.flatnonzero(text.message == number) for number in np.unique(text.message[text.message >= 0])]
    longest = max(map(len, texts), default=0)
    most = bisect_right(range(longest), left, key=lambda most: sum(min(len(one), most + 1) for one in texts))
    for places in texts:
        kept[_middle(places, most, text.places)] = False
    return kept


def _middle(tokens: np.ndarray, most: int, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Those of the tokens of a text that are left out so that at most `most` remain, without parts of characters."""
    if len(tokens) <= most:
        return tokens[:0]
    first, last = (most + 1) // 2, len(tokens) - most // 2
    starts, ends = places[0][tokens], places[1][tokens]
    while first > 0 and ends[first - 1] > starts[first]:
        first -= 1
    while last < len(tokens) and ends[last - 1] > starts[last]:
        last += 1
    return tokens[first:last]
