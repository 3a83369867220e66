"""The text of a plan."""

from genlip.plan.plan import Assumptions
from genlip.plan.planner import plan_run
from genlip.plan.text import plan_text

from .helpers import run


def test_the_text_says_what_decides():
    plan = plan_run(run(), gpus=64)
    text = plan_text(plan, "stage1")
    assert text.startswith("stage1 on 64 × h100: 2.9 days, 4,451")
    for words in ("646 M parameters", "196 patches + 74 text tokens", "fits", "feed-forward", "optimizer", "--utilisation"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100
    assert max(map(len, plan_text(plan, "stage1", width=80).splitlines())) <= 80
    assert len(text.splitlines()) < 45


def test_the_headline_counts_a_slow_loader():
    fast, slow = (plan_run(run(data__workers=1), gpus=64, gpu="b200", assume=Assumptions(decode=d)) for d in (0.1, 9))
    headline, late = (plan_text(plan, "stage1").partition("\n")[0] for plan in (fast, slow))
    assert late.startswith(headline)
    here = next(at for at in slow.scaling if at.gpus == 64)
    assert late == f"{headline}; {here.days:.1f} days with waiting for data"


def test_a_plan_for_a_processor_speaks_of_processes():
    """One process has all the memory; several have a share each."""
    alone, several = (plan_text(plan_run(run(parallel="ddp"), gpus=n, gpu="cpu"), "stage1") for n in (1, 2))
    assert "GPU" not in alone + several
    assert " GiB of " in alone
    assert " GiB a process of " in several
    assert "from 2 processes on" in several or "at none of these" in several
