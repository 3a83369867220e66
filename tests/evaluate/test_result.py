"""`genlip.evaluate.result`: what makes results comparable, what they record of an encoder, and their short form."""

from dataclasses import replace

from genlip.data.images import ImageConfig
from genlip.evaluate.result import measured_on, settings_of
from genlip.speaker import Speaker
from tests.model.helpers import small_model

from .test_result_files import result


def test_the_identity_is_measurement_set_and_settings_in_any_order() -> None:
    one = result(settings={"a": 1, "b": 2})
    assert one.identity == replace(one, settings={"b": 2, "a": 1}, model="another", keys=[]).identity
    for changes in ({"measurement": "probe"}, {"data": "scenes:2"}, {"settings": {"a": 1}}):
        assert replace(one, **changes).identity != one.identity
        assert replace(one, **changes).folder_name != one.folder_name


def test_settings_say_how_images_are_seen() -> None:
    model = small_model()
    assert settings_of(Speaker(model, ImageConfig(size=8)), seed=3) == {"resize": "fixed", "size": 8, "seed": 3}
    native = Speaker(model, ImageConfig(resize="native", min_patches=4, max_patches=9))
    assert settings_of(native) == {"resize": "native", "patches": [4, 9]}


def test_where_and_how_long_is_told() -> None:
    about = measured_on(Speaker(small_model(), ImageConfig()), 1.26)
    assert about["seconds"] == 1.3
    assert "threads" in about["machine"]
    assert {"genlip", "torch"} <= about["versions"].keys()


def test_a_result_is_shown_in_one_short_line() -> None:
    shown = repr(result(keys=["a"] * 100_000, outputs=["x" * 1000] * 1000))
    assert shown == (
        "Result(captioning of runs/quickstart/model on scenes:1, 100000 images: top-1 0.5000, BLEU-4 "
        f"{result().scores['BLEU-4'].score:.4f})"
    )
