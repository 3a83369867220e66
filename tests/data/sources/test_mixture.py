"""`genlip.data.sources.mixture` against slow, obvious models: endless cycles through the parts, and sets of keys."""

import itertools
import pickle
import tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from genlip.data.sources import Mixture, Procedural, Subset, Without, hold_out, locate

from ..helpers import examples, held, numbered

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=5)


def parts(lengths):
    return [numbered(length, name) for length, name in zip(lengths, "abcdefgh", strict=False)]


def keys(source, epoch=0):
    """Keys of all examples of an epoch, as the reader of samples finds them."""
    places = (locate(source, epoch, index) for index in range(len(source)))
    return [part[index].key for part, _, index in places]


def rounded(total, weights):
    """What each part gives, in whole numbers: shares laid end to end, each end rounded half up."""
    ends = [Fraction(sum(weights[: place + 1])) * total / Fraction(sum(weights)) for place in range(len(weights))]
    whole = [0, *(int(end + Fraction(1, 2)) for end in ends)]
    return [after - before for before, after in itertools.pairwise(whole)]


def refused(call, *arguments, **options):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the message is compared
        call(*arguments, **options)
    return str(error.value)


@st.composite
def weighted(draw):
    """Lengths and whole weights of parts that each give something."""
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    weights = draw(st.lists(st.integers(1, 20), min_size=len(lengths), max_size=len(lengths)))
    takes = rounded(sum(lengths), weights)
    return (lengths, weights) if all(takes) else (lengths, lengths)


# -- epochs


@given(lengths=LENGTHS, epochs=st.integers(1, 3))
@examples(100)
def test_without_weights_every_epoch_reads_every_example_once(lengths, epochs):
    mixture = Mixture(parts(lengths))
    expected = [example.key for part in mixture.sources for example in part]
    assert len(mixture) == sum(lengths)
    assert all(keys(mixture, epoch) == expected for epoch in range(epochs))


@given(of=weighted())
@examples(150)
def test_weights_divide_an_epoch_into_whole_numbers(of):
    lengths, weights = of
    takes = Mixture(parts(lengths), weights).takes
    total, unit = sum(lengths), Fraction(sum(lengths), sum(weights))
    assert takes.tolist() == rounded(total, weights)
    assert sum(takes.tolist()) == total
    assert all(abs(take - weight * unit) < 1 for take, weight in zip(takes.tolist(), weights, strict=True))


@given(of=weighted(), epochs=st.integers(1, 6))
@examples(150)
def test_with_weights_epochs_go_round_each_part(of, epochs):
    lengths, weights = of
    mixture = Mixture(parts(lengths), weights)
    cycles = [itertools.cycle(example.key for example in part) for part in mixture.sources]
    counts = [Counter() for _ in mixture.sources]
    for epoch in range(epochs):
        found = keys(mixture, epoch)
        expected = [
            list(itertools.islice(cycle, take)) for cycle, take in zip(cycles, rounded(sum(lengths), weights), strict=True)
        ]
        assert found == list(itertools.chain(*expected))
        for part, count in zip(mixture.sources, counts, strict=True):
            count.update(key for key in found if key.split()[0] == part.name)
            reads = [count[example.key] for example in part]
            assert max(reads) - min(reads) <= 1  # evenly, at every moment


def test_a_part_of_large_weight_is_read_several_times_an_epoch():
    mixture = Mixture(parts([2, 8]), [0.5, 0.5])
    assert mixture.takes.tolist() == [5, 5]
    assert keys(mixture, 0) == ["a 0", "a 1", "a 0", "a 1", "a 0", "b 0", "b 1", "b 2", "b 3", "b 4"]
    assert keys(mixture, 1) == ["a 1", "a 0", "a 1", "a 0", "a 1", "b 5", "b 6", "b 7", "b 0", "b 1"]
    assert [mixture.place(1, 4)[1:], mixture.place(1, 5)[1:], mixture.place(1, 8)[1:]] == [(4, 1), (0, 5), (1, 0)]


@pytest.mark.parametrize(
    ("weights", "takes"),
    [([1, 1], [10, 10]), ([0.7, 0.3], [14, 6]), ([70, 30], [14, 6]), ([np.float32(3), 1], [15, 5]), ((0.1, 0.2), [7, 13])],
)
def test_weights_are_shares_of_any_sum(weights, takes):
    assert Mixture(parts([4, 16]), weights).takes.tolist() == takes


def test_a_share_that_is_whole_stays_so_between_halves():
    assert Mixture(parts([1, 1, 2]), [1, 2, 1]).takes.tolist() == [1, 2, 1]
    assert Mixture(parts([2, 2, 2, 2]), [3, 2, 2, 1]).takes.tolist() == [3, 2, 2, 1]


def test_the_examples_of_a_mixture_are_those_of_its_first_epoch():
    mixture = Mixture(parts([3, 9]), [2, 1], "both.yaml")
    assert [example.key for example in mixture] == keys(mixture, 0)
    assert len(held(mixture)) == len(mixture) == 12
    assert mixture.name == "both.yaml"


def endless(source):
    """Keys of epoch after epoch."""
    for epoch in itertools.count():
        yield from keys(source, epoch)


@given(of=weighted(), around=st.integers(5, 30), weight=st.sampled_from([0.5, 1, 3]), epochs=st.integers(1, 4))
@examples(60)
def test_a_mixture_may_be_part_of_another_and_goes_on_there_as_alone(of, around, weight, epochs):
    inner = Mixture(parts(of[0]), of[1], "inner")
    outer = Mixture([inner, numbered(around, "z")], [weight * len(inner), around])
    alone, take = endless(inner), int(outer.takes[0])
    for epoch in range(epochs):
        found = keys(outer, epoch)
        assert found[:take] == list(itertools.islice(alone, take))
        assert all(key.startswith("z") for key in found[take:])


def test_an_example_of_a_plain_source_is_where_it_was():
    source = numbered(3)
    assert locate(source, 7, 2) == (source, 7, 2)


@pytest.mark.parametrize("index", [-1, 12, 100])
def test_an_index_outside_is_an_error(index):
    mixture = Mixture(parts([3, 9]), [2, 1])
    for read in (mixture.__getitem__, mixture.caption, lambda i: locate(mixture, 1, i)):
        with pytest.raises(IndexError, match=f"^mixture: example {index} of 12$"):
            read(index)


def test_a_mixture_survives_pickling():
    mixture = Mixture(parts([3, 9]), [2, 1])
    assert [keys(pickle.loads(pickle.dumps(mixture)), epoch) for epoch in range(3)] == [keys(mixture, e) for e in range(3)]


def test_epochs_cost_no_memory():
    mixture = Mixture([Procedural("scenes", 0, 10**12), Procedural("scenes", 1, 10**9)], [1, 3])
    tracemalloc.start()
    part, epoch, index = mixture.place(10**6, 10**12)
    assert tracemalloc.get_traced_memory()[1] < 10_000
    tracemalloc.stop()
    take, before = int(mixture.takes[1]), int(mixture.takes[0])
    assert (part.seed, *divmod(10**6 * take + 10**12 - before, 10**9)) == (1, epoch, index)


# -- mixtures that cannot be


def test_a_mixture_of_nothing_is_refused():
    assert refused(Mixture, []) == "a mixture needs at least one source"


@pytest.mark.parametrize(
    "weights", [[1], [1, 2, 3], [], [0, 1], [-1, 2], [float("nan"), 1], [float("inf"), 1], [None, 1]], ids=str
)
def test_every_part_needs_a_weight_above_0(weights):
    expected = f"two.yaml: weights {weights}: each of the 2 parts needs one above 0"
    assert refused(Mixture, parts([3, 4]), weights, "two.yaml") == expected


def test_a_weight_that_gives_nothing_is_refused():
    assert refused(Mixture, parts([100, 100]), [1e-3, 1]) == (
        "mixture: an epoch takes [0, 200] examples of parts that hold [100, 100]; "
        "every part must hold some and give some: raise its weight, or leave it out"
    )


def test_an_empty_part_has_no_weight_to_fill():
    empty = Without(numbered(1, "a"), [0])
    assert keys(Mixture([empty, numbered(2, "b")])) == ["b 0", "b 1"]
    assert "takes [1, 1] examples of parts that hold [0, 2]" in refused(Mixture, [empty, numbered(2, "b")], [1, 1])


# -- holding out


@given(length=st.integers(1, 60), share=st.floats(0, 0.5), seed=st.integers(0, 2**64))
@examples(150)
def test_what_is_held_out_of_a_source_is_the_rest_of_the_rest(length, share, seed):
    source, number = numbered(length), int(length * share)
    rest, out = hold_out(source, number, seed)
    assert (len(rest), len(out)) == (length - number, number)
    assert sorted(keys(rest) + keys(out)) == sorted(keys(source))
    assert set(keys(rest)).isdisjoint(keys(out))
    assert (rest.name, out.name) == (source.name, source.name)
    again = hold_out(source, number, seed)
    assert [held(one) for one in again] == [held(one) for one in (rest, out)]


@given(of=weighted(), number=st.integers(0, 12), seed=st.integers(0, 99))
@examples(100)
def test_a_mixture_holds_out_of_every_part_by_its_share_and_never_reads_it(of, number, seed):
    lengths, weights = of
    mixture = Mixture(parts(lengths), weights)
    wanted = rounded(number, rounded(sum(lengths), weights))
    kept = [length - n for n, length in zip(wanted, lengths, strict=True)]
    assume(all(2 * left >= length for left, length in zip(kept, lengths, strict=True)))
    assume(all(rounded(sum(kept), weights)))
    rest, out = hold_out(mixture, number, seed)
    assert Counter(key.split()[0] for key in keys(out)) == Counter(dict(zip("abcdefgh", wanted, strict=False))) + Counter()
    assert (len(rest), len(out)) == (sum(lengths) - number, number)
    ever = {key for epoch in range(60) for key in keys(rest, epoch)}
    assert ever.isdisjoint(keys(out))
    assert ever | set(keys(out)) == {example.key for part in mixture.sources for example in part}
    assert [keys(one) for one in hold_out(mixture, number, seed)] == [keys(rest), keys(out)]
    assert rest.name == out.name == mixture.name


@given(lengths=LENGTHS, share=st.floats(0, 0.5), seed=st.integers(0, 99))
@examples(100)
def test_any_half_of_a_mixture_without_weights_can_be_held_out(lengths, share, seed):
    mixture, number = Mixture(parts(lengths)), int(sum(lengths) * share)
    rest, out = hold_out(mixture, number, seed)
    assert len(out) == number
    assert sorted(keys(rest, 3) + keys(out, 5)) == sorted(keys(mixture))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 10])
def test_nested_mixtures_hold_out_down_to_the_last_part(number):
    inner = Mixture(parts([1, 10]), name="inner")
    mixture = Mixture([inner, numbered(300, "c"), Mixture([numbered(40, "d")], [1.0])], [1, 9, 2])
    rest, out = hold_out(mixture, number, 0)
    assert (len(rest), len(out)) == (351 - number, number)
    assert {key for epoch in range(40) for key in keys(rest, epoch)}.isdisjoint(keys(out))
    assert len(set(keys(out))) == number


def test_nothing_held_out_leaves_all():
    source = numbered(5)
    rest, out = hold_out(source, 0, 0)
    assert (rest, len(out)) == (source, 0)


def test_the_seed_chooses_and_every_example_is_as_likely():
    """Each of 20 examples is among the 5 in about a quarter of 2,000 draws."""
    counts = Counter(key for seed in range(2000) for key in keys(hold_out(numbered(20), 5, seed)[1]))
    assert len(counts) == 20
    assert all(abs(count - 500) < 4.5 * (2000 * 0.25 * 0.75) ** 0.5 for count in counts.values())


def test_the_same_examples_are_held_out_on_every_machine():
    """Recorded once: a run that goes on elsewhere must not learn what it is measured on."""
    _, out = hold_out(numbered(1000), 8, 3)
    assert [int(key.split()[1]) for key in keys(out)] == [46, 82, 238, 280, 281, 484, 487, 861]


def test_a_larger_number_holds_out_more_and_not_others():
    held_out = [set(keys(hold_out(numbered(1000), number, 3)[1])) for number in (5, 50, 500)]
    assert held_out[0] < held_out[1] < held_out[2]


def test_holding_out_costs_what_is_held_out():
    source = Procedural("scenes", 0, 10**12)
    hold_out(source, 100, 0)
    tracemalloc.start()
    rest, out = hold_out(source, 1000, 0)
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()
    assert (len(rest), len(out)) == (10**12 - 1000, 1000)


def test_more_than_half_of_a_part_is_refused_by_name():
    assert refused(hold_out, numbered(10), 7, 0) == (
        "numbers: 7 of 10 examples would be held out, and at most half may be; "
        "name a source with data.held_out or lower data.held_out_samples"
    )
    small_but_often = Mixture([numbered(10, "a"), numbered(190, "b")], [1, 1])
    assert refused(hold_out, small_but_often, 40, 0).startswith("a: 20 of 10 examples would be held out, and at most half")


def test_parts_are_held_out_as_subsets():
    rest, out = hold_out(Mixture(parts([20, 20]), [1, 3]), 8, 0)
    assert [type(part) for part in (*rest.sources, *out.sources)] == [Without, Without, Subset, Subset]
    assert (rest.weights, out.weights) == ([1, 3], None)
    assert [len(part) for part in out.sources] == [2, 6]
