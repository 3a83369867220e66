"""Chat templates: messages -> segments of text, with what the template writes kept apart from what was said.

In: a tokenizer with a chat template, and messages. Out: segments in order: what the template writes, texts of the system and
the user, answers. What the template writes between prompt and answer, and the control token after an answer, belong to it.
A template is a program that may do anything with a text. Texts are therefore rendered between two noncharacters of Unicode,
and dialogues whose texts do not come out whole, once and in order are refused. So are templates that write a turn otherwise
once later turns follow: what the model is asked must be what it was trained on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from genlip.data.dialogues import Message
from genlip.data.examples import Unusable
from genlip.mllm.control_tokens import RESERVED, ControlTokenizer
from genlip.model.fields import shown
from genlip.model.files import one_line

__all__ = ["PLAIN_TEMPLATE", "ChatTemplate", "Segment", "added_first", "check_texts", "folder_template"]

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # around the text of a message
_NO_TEXT = re.compile(f"[\ud800-\udfff{RESERVED}]")
_SETTING = "chat.template"
_ELSE = "; use another language model, or set chat.template to plain"
_CHATML = "<|im_end|>\n<|im_start|>assistant\n"


class Segment(NamedTuple):
    """A piece of a rendered dialogue.

    Attributes:
        text: what stands there.
        written: by the template; otherwise it was said by the system, the user or the assistant.
        answer: whether it belongs to an answer.
    """

    text: str
    written: bool
    answer: bool = False


class ChatTemplate:
    """The chat template of a tokenizer.

    Attributes:
        source: the template itself.
        control: the tokenizer that knows its control tokens.
        end: what the template writes after an answer, up to and including the first control token.
        bos: the token that the tokenizer puts first where the template does not; empty where there is none.
        chatml: whether turns are written as ChatML does.
    """

    def __init__(self, tokenizer: Any, system: str = "") -> None:
        """Renders a few messages. Raises ValueError for a template that cannot be used; `system` is a system message."""
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(
                "the tokenizer of the language model has no chat template: set chat.template to plain, which needs none, or "
                "take a model that was trained to chat"
            )
        self._tokenizer = tokenizer
        self.source: str = tokenizer.get_chat_template()
        try:
            self._probe(system)
        except Unusable as error:
            raise ValueError(f"{error}{_ELSE}") from None

    def _probe(self, system: str) -> None:
        """Learn the end of an answer and the control tokens from a short dialogue, and check a longer one."""
        asked, told = Message("user", "first question"), Message("assistant", "first answer")
        first = [Message("system", system)] * bool(system)
        prompt = self._render(_SETTING, [asked], True)
        if first:
            self._check_system([*first, asked])
        tail = self._render(_SETTING, [asked, told], False).rpartition(_CLOSE)[2]
        added = sorted({token.content for token in self._tokenizer.added_tokens_decoder.values()}, key=len, reverse=True)
        found = re.search("|".join(map(re.escape, added)) or "(?!)", tail)
        if found is None:
            raise _refused(f"{_SETTING}: the chat template writes {tail!r} after an answer, and no token that ends it")
        self.end = tail[: found.end()]
        written = prompt.replace(_padded(asked.text), "\n") + self.end
        self.control = ControlTokenizer(self._tokenizer, [token for token in added if token in written])
        bos = added_first(self._tokenizer)
        self.bos = "" if prompt.startswith(bos) else bos
        self.chatml = prompt.endswith(_CHATML) and tail == "<|im_end|>\n"
        second = Message("user", "second question"), Message("assistant", "second answer")
        self.segments(_SETTING, [*first, asked, told, *second])

    def _check_system(self, messages: Sequence[Message]) -> None:
        """Raises ValueError if the template cannot write the system message of a dialogue that it can write without."""
        try:
            self._split(_SETTING, self._render(_SETTING, messages, True), messages)
        except Unusable as error:
            reason = str(error).removeprefix(f"{_SETTING}: ")
            raise ValueError(
                f"chat.system is {shown(messages[0].text)}, but the language model takes no system message ({reason}): set "
                "chat.system to an empty text"
            ) from None

    def segments(self, key: str, messages: Sequence[Message], prompt: bool = False) -> list[Segment]:
        """Segments of a dialogue; with `prompt`, up to where the next answer begins.

        Raises `Unusable` for a dialogue that the template refuses, changes or does not write turn by turn.
        """
        whole = self._render(key, messages, prompt)
        gaps = self._split(key, whole, messages)
        found, place, head = [Segment(self.bos, True)] * bool(self.bos), 0, 0
        for n, (gap, message) in enumerate(zip(gaps, messages, strict=False)):
            answer, start = message.role == "assistant", len(gap)
            if answer:
                start = self._answer_start(key, whole, messages[:n]) - place
                if not head <= start <= len(gap):
                    raise _not_turn_by_turn(key, n)
            found += [Segment(gap[:head], True, True), Segment(gap[head:start], True), Segment(gap[start:], True, True)]
            found.append(Segment(message.text.strip(), False, answer))
            place += len(gap) + len(_marked(message.text.strip()))
            head = self._end_of_answer(key, gaps[n + 1]) if answer else 0
        found += [Segment(gaps[-1][:head], True, True), Segment(gaps[-1][head:], True)]
        return [segment for segment in found if segment.text]

    def _answer_start(self, key: str, whole: str, before: Sequence[Message]) -> int:
        """Where the answer to these messages begins: after what asks for it."""
        prompt = self._render(key, before, True)
        if not whole.startswith(prompt):
            raise _not_turn_by_turn(key, len(before))
        return len(prompt)

    def _end_of_answer(self, key: str, gap: str) -> int:
        """Length of the end of an answer at the start of a gap, white space before it included."""
        rest, end = gap.lstrip(), self.end.lstrip()
        if not rest.startswith(end):
            raise _refused(f"{key}: the chat template writes {gap[:40]!r} after one answer, and {self.end!r} after another")
        return len(gap) - len(rest) + len(end)

    def _split(self, key: str, whole: str, messages: Sequence[Message]) -> list[str]:
        """What the template writes before, between and after the texts of messages."""
        pieces = re.split(f"([{_OPEN}{_CLOSE}])", whole)
        for n, message in enumerate(messages):
            if pieces[4 * n + 1 : 4 * n + 4] != [_OPEN, message.text.strip(), _CLOSE]:
                raise _refused(
                    f"{key}: the chat template moves, changes or leaves out the text of message {n + 1} ({message.role})"
                )
        if len(pieces) != 4 * len(messages) + 1:
            raise _refused(f"{key}: the chat template writes a text more than once")
        return pieces[::4]

    def _render(self, key: str, messages: Sequence[Message], prompt: bool) -> str:
        """The text that the template makes, in Transformers' sandbox."""
        if not messages:
            raise _refused(f"{key}: no message comes before the first answer")
        marked = [{"role": message.role, "content": _padded(message.text)} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=prompt)
        except _failures() as error:
            raise _refused(f"{key}: the chat template fails: {one_line(str(error))}") from None
        return str(text)


def check_texts(key: str, messages: Sequence[Message]) -> None:
    """Raise `Unusable` for characters that are no text: half of a surrogate pair, or noncharacters that are used here."""
    for n, message in enumerate(messages):
        if found := _NO_TEXT.search(message.text):
            raise Unusable("damaged", f"{key}: message {n + 1} holds U+{ord(found[0]):04X}, which is no character")


def added_first(tokenizer: Any) -> str:
    """The token that a tokenizer puts before every text, such as `<s>`; empty if it puts none."""
    bos = getattr(tokenizer, "bos_token", None)
    return bos if bos and list(tokenizer("").input_ids)[:1] == [tokenizer.bos_token_id] else ""


def _marked(text: str) -> str:
    return f"{_OPEN}{text}{_CLOSE}"


def _padded(text: str) -> str:
    """A text with marks around it, inside its white space: templates often remove the latter."""
    stripped = text.strip()
    start = text.index(stripped)
    return text[:start] + _marked(stripped) + text[start + len(stripped) :]


def _refused(message: str) -> Unusable:
    return Unusable("refused by the chat template", message)


def _not_turn_by_turn(key: str, number: int) -> Unusable:
    return _refused(
        f"{key}: the chat template writes the messages before message {number + 1} otherwise once that one follows, so "
        "the model would be asked something else than it is trained on"
    )


def _failures() -> tuple[type[Exception], ...]:
    """What the expressions of a template can raise. Jinja is imported here: only Transformers needs it."""
    import jinja2

    return (
        jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError,
    )  # fmt: skip


_PRELUDE = """\
{%- set genlip = namespace(image=IMAGE, system=SYSTEM, messages=[], text='', said=false, asked=false) -%}
{%- if genlip.system and not (messages and messages[0].role == 'system') -%}
{%- set genlip.messages = [{'role': 'system', 'content': genlip.system}] -%}
{%- endif -%}
{%- for message in messages -%}
{%- set genlip.text = message.content if message.content is string else '' -%}
{%- set genlip.said = message.role != 'user' or genlip.asked -%}
{%- for part in ([] if message.content is string else message.content) -%}
{%- if part.type == 'image' -%}
{%- set genlip.text = genlip.text + genlip.image -%}
{%- elif part.type == 'text' -%}
{%- if part.text and not genlip.said -%}
{%- set genlip.text = genlip.text.replace(genlip.image, genlip.image + '\\n') -%}
{%- set genlip.said = true -%}
{%- endif -%}
{%- set genlip.text = genlip.text + part.text -%}
{%- else -%}
{{- raise_exception('a part of a message must be an image or a text, found ' ~ part.type) -}}
{%- endif -%}
{%- endfor -%}
{%- set genlip.asked = genlip.asked or message.role == 'user' -%}
{%- set genlip.messages = genlip.messages + [{'role': message.role, 'content': genlip.text}] -%}
{%- endfor -%}
{%- set messages = genlip.messages %}
"""

# Within a folder's template: images and answers, and no questions.
PLAIN_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{- message.content + '\\n' -}}
{%- else -%}
{{- genlip.image * (message.content.split(genlip.image) | length - 1) -}}
{%- endif -%}
{%- endfor -%}
"""


def folder_template(template: str, image_token: str, system: str, bos: bool = False) -> str:
    """A chat template for the processor of a LLaVA folder, around that of the language model or `PLAIN_TEMPLATE`.

    A content may be a text, in which `image_token` is an image, or a list of parts, {"type": "image"} and
    {"type": "text", "text": ...}. Each image of the first message of the user that comes before its text is on a line of its
    own. A dialogue without a system message gets `system`, unless it is empty. `bos` writes the first token, for tokenizers
    that put it first and templates that do not.
    """
    values = {"SYSTEM": json.dumps(system, ensure_ascii=False), "IMAGE": json.dumps(image_token, ensure_ascii=False)}
    prelude = re.sub("SYSTEM|IMAGE", lambda found: values[found[0]], _PRELUDE)
    return prelude + ("{{- bos_token }}" if bos else "") + template
