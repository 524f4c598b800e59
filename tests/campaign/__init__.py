"""Hostile files and options, kills, full disks and limits, for as long as one likes: ``python -m tests.campaign --help``.

``sandbox`` runs one command in a process of its own and says how it ended; ``world`` makes a small example of everything
that natmu reads; ``mutations`` spoils files; ``options`` are hostile values; ``readers`` are slow second readers of what
users write; ``cases`` draws a case from its number and judges it; ``faults`` kills and starves verbs; ``tables`` counts.
"""
