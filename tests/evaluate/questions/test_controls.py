"""Controls: no question keeps its images, however many share them."""

import pytest

from genlip.evaluate.questions.controls import deal_other_images


@pytest.mark.parametrize(
    "digests",
    [
        {0: "a", 1: "b"},
        {3: "a", 5: "a", 9: "b"},
        {number: "aaaabbbccd"[number] for number in range(10)},
        {number: str(number // 3) for number in range(60)},
    ],
)
def test_every_question_gets_images_that_differ(digests):
    dealt = deal_other_images(digests)
    assert list(dealt) == list(digests)
    assert all(digests[number] != digests[other] for number, other in dealt.items())
    assert dealt == deal_other_images(digests)


def test_images_of_their_own_are_each_dealt_once():
    dealt = deal_other_images({number: str(number) for number in range(50)})
    assert sorted(dealt.values()) == list(range(50))
    assert dealt != deal_other_images({number: str(number) for number in range(50)}, seed=1)


@pytest.mark.parametrize("digests", [{}, {4: "a"}, {4: "a", 5: "a"}])
def test_a_single_image_has_no_other(digests):
    with pytest.raises(ValueError, match=f"{len(digests)} questions about the same images: .* at least 2 images"):
        deal_other_images(digests)
