from __future__ import annotations

from natmu.report.label_places import Level, Named, places

ALONE = [Named(x=0.9, y=0.5, text="name", needed=False)]


def test_a_name_gives_way_to_words_at_the_right_end():
    (free,) = places(ALONE, [300.0], 400.0)
    level = Level(y=0.5, text="a very long baseline", above=True)
    assert free == "middle left"
    assert places(ALONE, [300.0], 400.0, [level]) == ["bottom left"]
    assert places(ALONE, [300.0], 400.0, [Level(y=0.2, text=level.text, above=True)]) == [free]


def test_a_name_without_room_is_left_out_unless_it_is_needed():
    levels = [Level(y=0.5 + step / 40, text="x" * 60, above=True) for step in range(-4, 4)]
    assert places(ALONE, [300.0], 400.0, levels) == [None]
    needed = [Named(x=0.9, y=0.5, text="name", needed=True)]
    assert places(needed, [300.0], 400.0, levels) != [None]
