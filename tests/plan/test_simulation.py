"""The simulation against cases whose answer is known on paper."""

import numpy as np
import pytest

from genlip.model.config import GenLIPConfig
from genlip.model.flops import Load, step_flops
from genlip.plan.memory_model import Sharing
from genlip.plan.simulation import Collectives, Packs, Sizes, collectives, draw_packs, ring_seconds, simulate

NO_LINKS = Collectives()


def alike(compute: float = 1.0, decode: float = 0.0) -> Packs:
    """Packs that all cost the same; with a rate of 1, `compute` is in seconds."""
    return Packs(flops=np.array([compute]), decode=np.array([decode]), samples=np.array([10.0]))


def test_without_chance_an_update_takes_its_packs():
    found = simulate(alike(0.25), packs=12, ranks=4, workers=1, rate=1, links=NO_LINKS, optimizer=0.1)
    assert found.seconds == pytest.approx(3 * 0.25 + 0.1)
    assert found.efficiency == pytest.approx(1)
    assert found.lost == pytest.approx({"loader": 0, "collectives": 0, "uneven packs": 0})
    assert found.bottleneck == "compute"


def test_rows_that_do_not_divide_idle():
    found = simulate(alike(), packs=9, ranks=4, workers=1, rate=1, links=NO_LINKS)
    assert found.seconds == pytest.approx(3)
    assert found.efficiency == pytest.approx(9 / 12)
    assert found.lost == pytest.approx({"loader": 0, "collectives": 0, "uneven packs": 3 / 12})
    assert found.bottleneck == "uneven packs"


@pytest.mark.parametrize(
    ("workers", "seconds"), [(0, 6 * (1 + 4)), (1, 6 * 4), (2, 6 * 4 / 2), (3, 6 * 4 / 3), (4, 6), (8, 6)]
)
def test_a_slow_loader_sets_the_pace(workers, seconds):
    """Packs that take four times as long to make as to use: W workers give one every 4 / W seconds, none add the two."""
    found = simulate(alike(1, decode=4), packs=6, ranks=1, workers=workers, rate=1, links=NO_LINKS, updates=40)
    assert found.seconds == pytest.approx(seconds)
    assert found.ready == pytest.approx(6)
    assert found.bottleneck == ("loader" if workers < 4 else "compute")


def test_an_all_reduce_hides_behind_the_last_backward_pass():
    for per_update, seconds in ((0.5, 2.0), (2 / 3, 2.0), (1.0, 2 + 1 / 3), (4.0, 2 + 4 - 2 / 3)):
        found = simulate(alike(), packs=8, ranks=4, workers=1, rate=1, links=Collectives(per_update=per_update))
        assert found.seconds == pytest.approx(seconds)
        assert found.free == pytest.approx(2)
    assert found.bottleneck == "collectives"


def test_gathers_hide_behind_computing():
    for per_pack, seconds in ((0.9, 2.0), (3.0, 6.0)):
        found = simulate(alike(), packs=8, ranks=4, workers=1, rate=1, links=Collectives(per_pack=per_pack))
        assert found.seconds == pytest.approx(seconds)


def test_ranks_wait_for_the_slowest():
    """Packs of 1 or 3 seconds: alone 2 on average, of many ranks one nearly always has 3."""
    drawn = Packs(np.array([1.0, 3.0]), np.zeros(2), np.ones(2))
    alone = simulate(drawn, packs=1, ranks=1, workers=1, rate=1, links=NO_LINKS, updates=4000)
    many = simulate(drawn, packs=64, ranks=64, workers=1, rate=1, links=NO_LINKS, updates=400)
    assert alone.seconds == pytest.approx(2, rel=0.05)
    assert many.seconds == pytest.approx(3, rel=1e-6)
    two = simulate(drawn, packs=2, ranks=2, workers=1, rate=1, links=NO_LINKS, updates=4000)
    assert two.seconds == pytest.approx(2.5, rel=0.05)  # three times in four


def test_a_seed_decides():
    one, same, other = (
        simulate(alike(), packs=8, ranks=4, workers=1, rate=1, links=NO_LINKS, jitter=0.1, seed=s) for s in (1, 1, 2)
    )
    assert one == same != other
    assert one.seconds > 2  # the slowest rank counts, and jitter slows some


def test_a_ring_moves_all_but_its_own_share():
    """Four ranks gather 400 bytes at 100 bytes/s: three steps of 100 bytes."""
    assert ring_seconds(400, 4, 100) == pytest.approx(3, abs=1e-4)
    assert ring_seconds(400, 1, 100) == 0


def test_collectives_of_each_strategy():
    link, network, parameters = 400e9, 50e9, 1e9  # 4 GB
    once = 4 / 400 * 7 / 8
    assert collectives(Sharing("single", 1, 8), parameters, link, network) == Collectives()
    ddp = collectives(Sharing("ddp", 8, 8), parameters, link, network)
    assert (ddp.per_pack, ddp.per_update) == pytest.approx((0, 2 * once), rel=0.01)
    fsdp = collectives(Sharing("fsdp", 8, 8), parameters, link, network)
    assert (fsdp.per_pack, fsdp.per_update) == pytest.approx((3 * once, 0), rel=0.01)
    hybrid = collectives(Sharing("hybrid", 32, 8), parameters, link, network)
    assert (hybrid.per_pack, hybrid.per_update) == pytest.approx((3 * once, 2 * 0.5 / 50 * 3 / 4), rel=0.01)
    frozen = collectives(Sharing("fsdp", 8, 8), parameters, link, network, gathered=16e9)  # a large frozen part
    assert frozen.per_pack == pytest.approx((2 * 4 + 1) * once, rel=0.01)
    slow = collectives(Sharing("ddp", 16, 8), parameters, link, network=10e9)
    assert slow.per_update == pytest.approx(2 * 4 / 80 * 15 / 16, rel=0.01)  # the node's eight cards together


def test_drawn_packs_without_spread_are_those_on_paper():
    config = GenLIPConfig.preset("tiny")
    drawn = draw_packs(
        config, Sizes(196, (196, 196), 74, 512, decode=0.002, spread=0), 16_384, activation_checkpointing=False, number=5
    )
    assert drawn.samples.tolist() == [60] * 5
    assert drawn.decode == pytest.approx(60 * 0.002)
    assert drawn.flops == pytest.approx(step_flops(config, Load.of_samples([(196, 74)] * 60)).total(False))


def test_drawn_packs_have_the_mean_that_was_asked_for():
    config = GenLIPConfig.preset("tiny")
    drawn = draw_packs(config, Sizes(500, (16, 10_000), 200, 10_000, decode=0.003), 16_384, activation_checkpointing=False)
    assert len(drawn.flops) == 512
    assert drawn.samples.mean() == pytest.approx(16_384 / 700, rel=0.05)
    assert drawn.decode.sum() / drawn.samples.sum() == pytest.approx(0.003, rel=0.05)
    assert drawn.flops.std() > 0
