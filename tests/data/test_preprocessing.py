"""`genlip.data.preprocessing`: what is saved is loaded, what is missing is said, what is damaged is named."""

import json
import logging

import pytest

from genlip.data.captions import CaptionConfig
from genlip.data.images import ImageConfig
from genlip.data.preprocessing import Preprocessing, load_captions, load_preprocessing, save_preprocessing

from .helpers import small_tokenizer

# No field at its default.
SETTINGS = Preprocessing(
    images=ImageConfig(resize="native", size=448, min_patches=4, max_patches=256, max_pixels=1_000_000),
    captions=CaptionConfig(prompt="Décris l'image : ", end="<|im_end|>", max_tokens=77),
)


@pytest.fixture
def folder(tmp_path):
    save_preprocessing(tmp_path / "runs" / "model", SETTINGS, small_tokenizer())
    return tmp_path / "runs" / "model"


def test_what_is_saved_is_loaded_without_a_warning(folder, caplog):
    settings, tokenizer = load_preprocessing(str(folder))
    assert settings == SETTINGS != Preprocessing()
    assert tokenizer.to_str() == small_tokenizer().to_str()
    assert not caplog.records


def test_saving_again_replaces_what_was_saved(folder):
    save_preprocessing(folder, Preprocessing(), small_tokenizer())
    assert load_preprocessing(folder)[0] == Preprocessing()


def test_the_file_is_json_with_every_field(folder):
    stored = json.loads((folder / "preprocessing.json").read_text(encoding="utf8"))
    assert stored == {
        "images": {"resize": "native", "size": 448, "min_patches": 4, "max_patches": 256, "max_pixels": 1_000_000},
        "captions": {"prompt": "Décris l'image : ", "end": "<|im_end|>", "max_tokens": 77, "lines": "all"},
    }


def test_without_the_file_the_published_settings_are_assumed_aloud(folder, caplog):
    (folder / "preprocessing.json").unlink()
    with caplog.at_level(logging.WARNING):
        settings, tokenizer = load_preprocessing(folder)
    assert (settings.images.resize, settings.images.size, settings.captions.prompt) == (
        "fixed",
        224,
        "Describe the image in detail.",
    )
    assert tokenizer.to_str() == small_tokenizer().to_str()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        f"{folder} has no preprocessing.json: assuming a published model of stage 1, images of 224x224 pixels"
    )


def test_a_folder_without_both_files_says_which_and_how_to_supply_them(folder, caplog):
    for name in ("preprocessing.json", "tokenizer.json"):
        (folder / name).unlink()
    load_preprocessing(folder)
    assert caplog.messages == [
        f"{folder} has no preprocessing.json and no tokenizer.json: assuming a published model of stage 1, images of "
        "224x224 pixels and the prompt 'Describe the image in detail.'; if it is another, copy preprocessing.json and "
        "tokenizer.json from the folder of the model that it was made from, or give resize, size, prompt and tokenizer"
    ]


def test_a_folder_may_lack_a_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert load_preprocessing(folder) == (SETTINGS, None)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ("null", "it is None: it must be an object"),
        ("[]", "it is []: it must be an object"),
        ("{}", "'images'"),
        ('{"images": {}}', "'captions'"),
        ('{"images": {"sise": 224}, "captions": {}}', "sise"),
        ('{"images": {"resize": "crop"}, "captions": {}}', "resize is 'crop'"),
        ('{"images": {"size": "224"}, "captions": {}}', "images.size is '224': it must be a whole number"),
        ('{"images": {"size": 32000}, "captions": {}}', "images.size is 32000: it must be at most 4,096"),
        (
            '{"images": {"max_patches": 10000000}, "captions": {}}',
            "images.max_patches is 10000000: it must be at most 65,536",
        ),
        ('{"images": {"size": 224, "size": 225}, "captions": {}}', "the key 'size' stands twice"),
        ('{"images": {"size": Infinity}, "captions": {}}', "images.size is inf: it must be a whole number"),
        ('{"images": 3, "captions": {}}', "it.images is 3: it must be an object"),
        ('{"images": {}, "captions": {"prompt": 5}}', "captions.prompt is 5: it must be a text"),
        ('{"images": {}, "captions": {"max_tokens": 1e999}}', "captions.max_tokens is inf: it must be a whole number"),
        ('{"images": {}, "captions": {"prompt": "' + "x" * 70_000 + '"}}', "captions.prompt and end have 70,011 characters"),
        ("[" * 100_000, "nested deeper than 100"),
        ('{"images": ' + "[" * 101 + "]" * 101 + "}", "nested deeper than 100"),
        ('{"images": {}, "captions": {"max_tokens": 0}}', "captions.max_tokens is 0"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_damaged_settings_are_named_with_what_is_wrong(content, found, folder):
    file = folder / "preprocessing.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"^{file}: not the preprocessing of a model: ") as error:
        load_preprocessing(folder)
    assert found in str(error.value)


def test_a_damaged_tokenizer_is_named(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=f"{folder / 'tokenizer.json'}: not a tokenizer.json"):
        load_preprocessing(folder)


def test_settings_that_do_not_fit_the_tokenizer_name_the_folder(folder):
    file = folder / "preprocessing.json"
    file.write_text(file.read_text().replace("<|im_end|>", "<none>"))
    with pytest.raises(ValueError, match=rf"^{folder}: captions.end is '<none>', which does not begin with a special token"):
        load_captions(folder, 10**6)
