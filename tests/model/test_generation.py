"""Generation equals predicting from the whole sequence again at every step."""

import pytest
import torch

from genlip.model.decoding import Decoding
from genlip.model.generation import generate, generate_steps, patch_readout, sample_token
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

from .helpers import RECORDED, random_samples, recorded_model, recorded_samples, recording, small_config, small_model

SHAPES = [(3, 5, 0), (1, 1, 3), (4, 2, 1), (2, 6, 2)]  # different grids, prompts of different lengths


@pytest.fixture(scope="module")
def model() -> GenLIP:
    return small_model(text_embed_dim=10)


@pytest.fixture(scope="module")
def images() -> list[Sample]:
    return random_samples(small_config(), SHAPES)


def next_logits(model: GenLIP, image: Sample, text: list[int]) -> torch.Tensor:
    """Logits after the text, computed without a cache: append any token and ask what predicts it."""
    return model.logits(Pack.of([image.with_text([*text, 0])]))[-1]


def greedy_without_cache(model: GenLIP, image: Sample, length: int, end: tuple[int, ...] = ()) -> list[int]:
    text = [int(token) for token in image.token_ids]
    spoken: list[int] = []
    while len(spoken) < length:
        token = int(next_logits(model, image, text + spoken).argmax())
        if token in end:
            break
        spoken.append(token)
    return spoken


def test_a_cached_batch_of_different_grids_and_prompts_equals_uncached_captions(model, images):
    expected = [greedy_without_cache(model, image, 12) for image in images]
    assert generate(model, Pack.of(images), Decoding(max_tokens=12)) == expected


def test_cached_logits_equal_uncached_logits(model, images, monkeypatch):
    """Not only the chosen tokens: all logits of every step agree to float64 rounding."""
    seen = []
    monkeypatch.setattr(
        "genlip.model.generation.sample_token", lambda logits, *_: seen.append(logits.clone()) or logits.argmax(-1)
    )
    captions = generate(model, Pack.of(images), Decoding(max_tokens=6))
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        for step in range(6):
            expected = next_logits(model, image, [int(t) for t in image.token_ids] + caption[:step])
            torch.testing.assert_close(seen[step][i], expected, rtol=1e-9, atol=1e-9)


def test_one_image_alone_says_what_it_says_in_a_batch(model, images):
    together = generate(model, Pack.of(images), Decoding(max_tokens=9))
    assert [generate(model, Pack.of([p]), Decoding(max_tokens=9))[0] for p in images] == together


@pytest.mark.parametrize("name", RECORDED)
def test_greedy_ids_equal_the_recorded_ones(name):
    images = [sample.with_text([]) for sample in recorded_samples(name)]
    expected = [sample["greedy_ids"].tolist() for sample in recording(name).samples]
    assert generate(recorded_model(name), Pack.of(images), Decoding(max_tokens=8)) == expected


def test_end_tokens_end_a_caption_and_are_not_part_of_it(model, images):
    free = [greedy_without_cache(model, image, 12) for image in images]
    end = (free[0][4], free[2][2])
    expected = [greedy_without_cache(model, image, 12, end) for image in images]
    assert generate(model, Pack.of(images), Decoding(max_tokens=12, end_ids=end)) == expected
    assert min(map(len, expected)) < 12


def test_a_stream_gives_the_caption_token_by_token(model, images):
    steps = list(generate_steps(model, Pack.of(images[:1]), Decoding(max_tokens=7)))
    assert [token for (token,) in steps] == greedy_without_cache(model, images[0], 7)


def test_sampling_is_repeatable_and_differs_between_seeds(model, images):
    pack = Pack.of(images)
    spoken = [generate(model, pack, Decoding(max_tokens=8, temperature=2.0, seed=seed)) for seed in (0, 0, 1)]
    assert spoken[0] == spoken[1] != spoken[2]


def test_sampled_tokens_follow_the_softmax_at_the_temperature():
    logits, temperature = torch.tensor([2.0, 1.0, 0.0, -1.0]), 0.7
    generator = torch.Generator().manual_seed(0)
    drawn = sample_token(logits.expand(40_000, 4), temperature, generator=generator)
    share = torch.bincount(drawn, minlength=4) / 40_000
    torch.testing.assert_close(share, (logits / temperature).softmax(0), atol=0.01, rtol=0)


def test_top_k_and_top_p_exclude_exactly_the_unlikely_tokens():
    chances = torch.tensor([[0.05, 0.5, 0.3, 0.15]])
    draw = lambda **limits: set(sample_token(chances.log().expand(2000, 4), 1.0, **limits).tolist())  # noqa: E731
    torch.manual_seed(0)
    assert draw() == {0, 1, 2, 3}
    assert draw(top_k=1) == {1}
    assert draw(top_k=2) == {1, 2}
    assert draw(top_p=0.4) == {1}
    assert draw(top_p=0.6) == {1, 2}
    assert draw(top_p=0.9) == {1, 2, 3}
    assert draw(top_k=3, top_p=0.6) == {1, 2}


def test_temperature_zero_takes_the_likeliest_token():
    logits = torch.randn(5, 11, generator=torch.Generator().manual_seed(0))
    assert sample_token(logits).tolist() == [max(range(11), key=lambda v: float(row[v])) for row in logits]


def test_a_repeated_phrase_stops_a_caption_and_is_kept_once(monkeypatch, model, images):
    script = iter([5, 6, 7, 6, 7, 6, 7, 8, 8, 8, 8])
    monkeypatch.setattr("genlip.model.generation.sample_token", lambda logits, *_: torch.tensor([next(script)]))
    spoken = generate(model, Pack.of(images[:1]), Decoding(max_tokens=11, repetition_stop=3))
    assert spoken == [[5, 6, 7]]


def test_repeats_are_left_alone_unless_asked_for(monkeypatch, model, images):
    script = iter([8] * 11)
    monkeypatch.setattr("genlip.model.generation.sample_token", lambda logits, *_: torch.tensor([next(script)]))
    assert generate(model, Pack.of(images[:1]), Decoding(max_tokens=11)) == [[8] * 11]


def test_readout_is_the_head_on_every_patch(model, images):
    pack = Pack.of(images)
    chances, tokens = patch_readout(model, pack, k=3)
    features = torch.cat([model.encode(Pack.of([image])) for image in images])
    logits = torch.stack([model.lm_head.weight @ model.proj(row) for row in features]).detach()
    for row in range(len(logits)):
        ranked = sorted(range(logits.shape[1]), key=lambda v: -float(logits[row, v]))[:3]
        assert tokens[row].tolist() == ranked
        torch.testing.assert_close(chances[row], logits[row].float().softmax(0)[ranked])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_tokens": 0}, "max_tokens 0"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_k": -1}, "top_k -1"),
        ({"repetition_stop": 1}, "repetition_stop is 1"),
    ],
)
def test_impossible_decoding_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        Decoding(**wrong)


def test_readout_refuses_more_tokens_than_there_are(model, images):
    with pytest.raises(ValueError, match="k is 999"):
        patch_readout(model, Pack.of(images), k=999)


def test_a_bfloat16_model_speaks(images):
    """Half precision goes through cache, attention and head; its first token is the float64 model's."""
    model = small_model()
    expected = [generate(model, Pack.of([p]), Decoding(max_tokens=1))[0] for p in images]
    assert generate(model.bfloat16(), Pack.of(images), Decoding(max_tokens=1)) == expected
