"""The conformance suites: what any unlearning method and any score must satisfy, for their authors.

A method is ready for others when these tests pass. One import and one row run all of them:

    # test_my_method.py
    from natmu.testing import Row, conformance

    from my_package import MyMethod

    TestConformance = conformance(Row(MyMethod, settings={"epochs": 2}))

``pytest test_my_method.py`` then runs the method some fifty times on sixty of scikit-learn's digits with networks of a
thousand weights, in a second or two. Nothing is downloaded or written. ``pip install natmu[testing]`` brings pytest.

What holds for every method is tested for every row: the original, the data and all global random numbers stay as they
are; the same seed gives the same weights; no test image can be reached; the declarations ``scenarios``,
``needs_labels``, ``needs_retain`` and ``stochastic`` are true, in both directions; forget sets that are empty, full, of
one sample or of a whole class give a model or a clear error, in time; errors and losses that are not finite end the
run, with the method, the step and the settings named; teachers stay frozen and the student does not; models without
batch normalisation and odd grey images serve as well.

What holds for some kinds of method is tested for rows that say so. ``Row`` explains all of its fields; a method
that distils, alternates between the two parts of the data and must not move its first layer might say:

    Row(
        MyMethod,
        settings={"epochs": 2},
        visible={"epochs": 8, "lr": 0.01},
        raises_forget_loss=True,
        teachers=1,
        passes=("forget", "retain", "forget", "retain"),
        frozen=lambda method, problem: {"0.weight": True, "0.bias": True},
        loss=lambda method, problem, seen: slow_loss(problem.model, seen.student, seen.batch),
    )

The last two of these are worth their lines: ``passes`` tells a method that alternates from one that minimises a joint
loss, and ``loss``, a slow and obviously right computation of a step's loss, tells one divergence from another.
``failures`` runs the suite without pytest, which shows that it would notice a broken method.

torchrun may start several processes for one run (``natmu.engine.processes``). All of them call ``run`` with the same
problem, and must leave it with the same model, which is that of one process up to rounding:

- All make the same decisions and the same number of steps. What the last bit of a number may decide, the first process
  decides: ``processes.agree`` for plain values, ``processes.same_everywhere`` for tensors.
- Each takes its share of the rows of every step, ``processes.share()``. ``fine_tune`` does that, averages the
  gradients, and weighs the loss as a mean over the rows of all; a loss that is a sum has to mind ``batch.weight``.
- Numbers from ``problem.rng``, and from PyTorch's generator outside a loss, are the same in all processes. Inside a
  loss each process draws its own, because it has other rows; a row of the suite says so in ``own_draws``.
- A loop of one's own calls ``processes.average_gradients`` before each step of the optimiser, or computes everything in
  every process and ends with ``processes.same_everywhere``.
- Only the first writes: ``processes.writes()``.
- A method that cannot do this refuses in ``check``, with a UsageError, where ``processes.count()`` is above 1; its row
  says why in ``one_process``.

A pair of processes on the CPU runs each method against one. Its class must be in a module that can be imported.

Every check is a function of a row in ``natmu.testing.contract`` (what every method owes),
``natmu.testing.processes`` (in several processes), ``natmu.testing.edges`` (at the edge of what can be asked for)
or ``natmu.testing.updates`` (what moves and what does not), and ``CHECKS`` lists them all.

A score is tested in the same way:

    from natmu.testing import ScoreRow, score_conformance

    from my_package import my_score

    TestConformance = score_conformance(ScoreRow(my_score))

It is computed on made-up panels of five classes, and must give a number of its range; the same number under the same
seed, for the same samples in another order, for logits with a number added to all of a sample, and for classes with
other numbers; a finite number on logits of 1e4, on ties and on probabilities of 0 and 1; a number or a reason where
there are few samples or models; its declared value, 0 for a distance, where all models are the same; and a verdict in
an audit. The checks are in ``natmu.testing.score_contract``, and ``SCORE_CHECKS`` lists them.
"""

from natmu.testing.problems import (
    digits,
    problem_for,
    problem_of,
    same_state,
    small_net,
    state_of,
    trained,
    unnormed_net,
    usual,
)
from natmu.testing.recorder import Seen, perform
from natmu.testing.row import Row
from natmu.testing.score_contract import ScoreRow
from natmu.testing.score_suite import SCORE_CHECKS, score_conformance, score_failures
from natmu.testing.suite import CHECKS, Check, conformance, failures

__all__ = [
    "CHECKS",
    "SCORE_CHECKS",
    "Check",
    "Row",
    "ScoreRow",
    "Seen",
    "conformance",
    "digits",
    "failures",
    "perform",
    "problem_for",
    "problem_of",
    "same_state",
    "score_conformance",
    "score_failures",
    "small_net",
    "state_of",
    "trained",
    "unnormed_net",
    "usual",
]
