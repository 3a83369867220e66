"""`genlip.train.spikes`: a jump is reported, noise and a falling loss are not."""

import numpy as np

from genlip.train.spikes import Spikes


def reported(losses):
    spikes = Spikes()
    return [step for step, loss in enumerate(losses) if spikes.usual(loss) is not None]


def falling(steps=2000, noise=0.05):
    return 2 + 5 * np.exp(-np.arange(steps) / 200) + noise * np.random.default_rng(0).standard_normal(steps)


def test_a_falling_noisy_loss_has_no_spikes():
    assert reported(falling()) == []
    assert reported([2.0] * 300) == []


def test_a_jump_is_reported_with_what_was_usual():
    losses = falling()
    losses[1500] = 4.0
    assert reported(losses) == [1500]
    spikes = Spikes()
    told = [spikes.usual(loss) for loss in losses]
    assert abs(told[1500] - 2) < 0.1


def test_a_loss_that_stays_high_becomes_usual():
    """The first updates of a new level are spikes, not all of them for ever."""
    losses = falling()
    losses[1500:] += 1
    found = reported(losses)
    assert found[0] == 1500
    assert len(found) < 60


def test_a_small_jump_of_a_very_steady_loss_is_none():
    assert reported([2.0 + 1e-5 * (step % 2) for step in range(200)] + [2.05]) == []


def test_the_first_updates_are_never_spikes():
    assert reported([7.0] + [1.0] * 10 + [30.0]) == []
