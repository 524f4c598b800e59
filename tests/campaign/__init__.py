"""Hostile files and options, kills, full disks and limits, as long as one likes: ``python -m tests.campaign --help``.

``sandbox`` runs one command in a process of its own, which ``watch`` sees; ``world`` makes a small example of all that
natmu reads; ``mutations`` and ``binaries`` spoil files with what is in ``hostile``, ``options`` spoils the words of a
command; ``readers`` read a second time, slowly, what users write; ``cases`` draws a case from its number and judges it
with ``judging``; ``parsing`` tries many small inputs at once; ``short`` is what the test-suite runs; ``tables`` counts.
"""
