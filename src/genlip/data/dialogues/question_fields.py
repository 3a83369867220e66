"""Question fields: the entries of a record that hold a question, its answers and its options.

In: a record: a JSON object or a row of a table. Out: a `Question` without images.
The published forms of benchmarks are read: one answer, a list of them, or those of ten people as in VQAv2; options as a list
or in fields of their own; the right option by its number from 0, its letter or its text.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

from genlip.data.dialogues.question import Question
from genlip.data.examples import Unusable
from genlip.model.fields import shown
from genlip.model.reading import parse_json

__all__ = ["KNOWN_FIELDS", "Form", "QuestionFields"]

log = logging.getLogger(__name__)

Form = Literal["number", "letter", "text"]

_QUESTION = ("question", "query")
_ANSWERS = ("answers", "answer")
_OPTIONS = ("options", "choices")
_TYPE = ("type", "kind", "question_type")
_ID = ("id", "question_id", "questionId")
_HINT = "hint"
_LETTERED = (tuple("ABCDEFGH"), tuple(f"choice_{letter}" for letter in "ABCDEFGH"))  # a field for each option
KNOWN_FIELDS = (*_QUESTION, *_ANSWERS, *_OPTIONS, *_TYPE, *_ID, _HINT, *_LETTERED[0], *_LETTERED[1])
_FORMS: tuple[Form, ...] = ("number", "letter", "text")
_LETTER = re.compile(r"\(?([A-Za-z])[).]?")


@dataclass(frozen=True)
class QuestionFields:
    """Fields of the records of a set.

    Attributes:
        question: of the text.
        answers: of the answers, in order: the first that is filled in counts.
        options: of a list of options, or of each option.
        type: of the type; empty if there is none.
        id: of the name; empty if there is none.
        hint: of a context that is put before the question, as in ScienceQA; empty if there is none.
        form: how the answers name the right option.
    """

    question: str
    answers: tuple[str, ...]
    options: tuple[str, ...] = ()
    type: str = ""
    id: str = ""
    hint: str = ""
    form: Form = "text"

    @classmethod
    def among(cls, found: Iterable[str], where: str) -> QuestionFields:
        """The fields with usual names among those `found`. Raises ValueError without a question or answers."""
        names = list(found)
        first = lambda usual: next((name for name in usual if name in names), "")  # noqa: E731
        for usual, what in ((_QUESTION, "question"), (_ANSWERS, "answer")):
            if not first(usual):
                raise ValueError(
                    f"{where}: no {what} among {', '.join(names) or 'no fields'}; need a field named {' or '.join(usual)}"
                )
        answers = tuple(name for name in _ANSWERS if name in names)
        hint = _HINT if _HINT in names else ""
        return cls(first(_QUESTION), answers, _option_fields(names), first(_TYPE), first(_ID), hint)

    def with_form(self, records: Sequence[Mapping[str, Any]], where: str) -> QuestionFields:
        """The same, with the form in which most of the records name the right option.

        "2" may be the third option or the text of one. The form that fits more records counts; where two fit equally, the
        number is preferred, then the letter, and the log says so.
        """
        pairs = [pair for record in records if (pair := self._option_pair(record))]
        fits = {form: [_place(answer, options, form) for answer, options in pairs] for form in _FORMS}
        counts = {form: sum(place >= 0 for place in places) for form, places in fits.items()}
        best = max(_FORMS, key=lambda form: counts[form])
        for other in _FORMS:
            if pairs and counts[other] == counts[best] and fits[other] != fits[best]:
                log.warning("%s: answers may be the %s or the %s of an option; read as its %s", where, best, other, best)
        return replace(self, form=best)

    def read(self, record: Mapping[str, Any], key: str) -> Question:
        """The question of a record. Raises `Unusable` that names the key."""
        try:
            options = self._options(record)
            answers = self._answers(record)
            right = -1
            if options:
                right = self._right(answers, options)
                answers = [options[right]]
            question = Question(key, (), self._question(record), tuple(answers), tuple(options), right, self._type(record))
        except Unusable as error:  # without the key of the question
            raise Unusable(error.reason, f"{key}: {error}") from None
        return question

    def key(self, record: Mapping[str, Any]) -> str:
        """The name of a record; empty if it has none."""
        entry = record.get(self.id)
        return str(entry) if isinstance(entry, (str, int)) and not isinstance(entry, bool) else ""

    def _question(self, record: Mapping[str, Any]) -> str:
        if record.get(self.question) in (None, ""):
            raise Unusable("no question", "no question")
        text, hint = _text(record[self.question], "question"), record.get(self.hint)
        return f"Context: {_text(hint, 'hint')}\n{text}" if hint else text

    def _answers(self, record: Mapping[str, Any]) -> list[str]:
        for field in self.answers:
            if texts := _several(record.get(field), field):
                return texts
        raise Unusable("no answer", "no answer")

    def _options(self, record: Mapping[str, Any]) -> list[str]:
        if len(self.options) == 1:
            found = _list(record.get(self.options[0]), self.options[0])
        else:
            found = [record[field] for field in self.options if record.get(field) not in (None, "")]
        if len(found) > len(ascii_uppercase):
            raise Unusable("too many options", f"{len(found)} options; the most is {len(ascii_uppercase)}")
        return [_text(one, "option") for one in found]

    def _right(self, answers: Sequence[str], options: Sequence[str]) -> int:
        if len(answers) > 1:
            raise Unusable("several answers", f"{len(answers)} answers to a question with options; need one")
        if (place := _place(answers[0], options, self.form)) < 0:
            raise Unusable(
                "not an option", f"the answer {shown(answers[0])} is not the {self.form} of one of {len(options)} options"
            )
        return place

    def _option_pair(self, record: Mapping[str, Any]) -> tuple[str, list[str]] | None:
        """The answer and the options of a record that has both."""
        try:
            options, answers = self._options(record), self._answers(record)
        except Unusable:
            return None
        return (answers[0], options) if options and len(answers) == 1 else None

    def _type(self, record: Mapping[str, Any]) -> str:
        entry = record.get(self.type)
        return "" if entry in (None, "") else _text(entry, self.type)


def _option_fields(names: Sequence[str]) -> tuple[str, ...]:
    """The field of a list of options, or those of single ones: at least two."""
    for name in _OPTIONS:
        if name in names:
            return (name,)
    for lettered in _LETTERED:
        if len(there := [name for name in lettered if name in names]) > 1:
            return tuple(there)
    return ()


def _place(answer: str, options: Sequence[str], form: Form) -> int:
    """The number of the option that an answer names in this form; -1 if it names none, or several alike."""
    if form == "number":
        place = int(answer) if answer.isascii() and answer.isdigit() and len(answer) < 4 else -1
    elif form == "letter":
        found = _LETTER.fullmatch(answer.strip())
        place = ascii_uppercase.index(found.group(1).upper()) if found else -1
    else:
        alike = [number for number, option in enumerate(options) if option.strip() == answer.strip()]
        place = alike[0] if len(alike) == 1 else -1
    return place if place < len(options) else -1


def _several(entry: Any, field: str) -> list[str]:
    """The answers in an entry; empty if none has a text."""
    if isinstance(entry, str) and field == "answers":
        entry = _stored_list(entry)
    several = entry if isinstance(entry, list) else [entry]
    said = [one.get("answer") if isinstance(one, Mapping) else one for one in several]
    texts = [_text(one, "answer") for one in said if one is not None]
    return texts if any(text.strip() for text in texts) else []


def _list(entry: Any, field: str) -> list[Any]:
    """The options in an entry: a list, or one in a text as JSON or with | between."""
    if isinstance(entry, str):
        entry = _stored_list(entry)
        entry = entry.split("|") if isinstance(entry, str) and entry else entry
    if entry in (None, ""):
        return []
    if not isinstance(entry, list):
        raise Unusable("not options", f"{field} is {shown(entry)}; need a list of texts")
    return entry


def _stored_list(text: str) -> Any:
    """The list that a text holds as JSON; any other text as it stands."""
    if not text.lstrip().startswith("["):
        return text
    try:
        found = parse_json(text)
    except ValueError:
        return text
    return found if isinstance(found, list) else text


def _text(entry: Any, what: str) -> str:
    """A text or a number as text. Raises `Unusable` for anything else."""
    if isinstance(entry, (int, float)) and not isinstance(entry, bool):
        entry = json.dumps(entry)
    if not isinstance(entry, str):
        raise Unusable("not a text", f"{what} is {shown(entry)}; need a text")
    try:
        entry.encode()
    except UnicodeEncodeError as error:
        raise Unusable("damaged", f"{what} is not valid text: {error}") from None
    return entry
