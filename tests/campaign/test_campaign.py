"""The campaign in small, and that it finds what it is there for."""

import json
import os
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests import warm
from tests.campaign import judging, mutations, readers, tables
from tests.campaign.cases import spread
from tests.campaign.world import World

SHORT = "import sys; from tests.campaign.short import main; main(sys.argv[1])"
KNOWN = """
import json, sys, time
from itertools import pairwise
from pathlib import Path
from tests.campaign.judging import faults_of
from tests.campaign.sandbox import run
from tests.campaign.watch import Fault

def tell(name, act, **limits):
    ended = run(act, Path.cwd(), **limits)
    kinds = sorted(one.kind for one in faults_of(ended, Path.cwd()))
    print(json.dumps([name, ended.status, kinds, len(ended.operations)]))

def trace(): raise ValueError("a bug")
def canary():
    import os
    os.system('touch "$NATMU_CANARY"')
def named(): Path("a\\r\u2028b").write_text("x")
def outside(): Path("../elsewhere").write_text("x")
def two():
    Path("one").write_text("x"); Path("one").rename("two")
def says(text, status):
    def act():
        sys.stderr.write(text); sys.exit(status)
    return act
def waits():
    import os
    os.mkfifo("fifo"); open("fifo").read()
def spins():
    while True: pass
def prints():
    while True: sys.stderr.write("x" * 4096)
def polls():
    while True: time.sleep(0.02); [*range(30_000)]

import tests.campaign.sandbox as sandbox
sandbox.IDLE_S, sandbox.LONGEST_S = 1.0, 2.0
tell("fine", says("natmu: no.", 2))
tell("traceback", trace)
tell("executed", canary)
tell("named", named)
tell("outside", outside)
tell("message", says("oh", 2))
tell("status", says("natmu: no.", 3))
tell("control", says("natmu: \\x1b[31m.", 2))
tell("waits", waits)
tell("spins", spins, seconds=0.5)
tell("prints", prints, seconds=0.2)
tell("polls", polls)
tell("two", two)
tell("kill", two, fault=Fault("kill", 1))
tell("full", two, fault=Fault("full", 0))
tell("torn", lambda: Path("big").write_bytes(bytes(999)), fault=Fault("torn", 500))
print(json.dumps(["there", Path("one").exists(), Path("two").exists(), Path("big").stat().st_size]))
"""


@pytest.fixture(autouse=True)
def linux():
    if sys.platform != "linux":
        pytest.skip("processes are watched through /proc")


def test_two_campaigns_do_not_play_in_one_world(tmp_path):
    first = World(tmp_path / "world").take()
    with pytest.raises(SystemExit, match="is played in already"):
        World(tmp_path / "world").take()
    os.close(first)
    os.close(World(tmp_path / "world").take())


def test_a_short_campaign_finds_nothing(tmp_path):
    done = warm.start(SHORT, tmp_path).join()
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) > 20
    assert {0, 2} <= {case["status"] for case in cases}, "some are refused, some are carried out"
    assert [case for case in cases if case["findings"]] == []


def test_what_is_wrong_is_seen(tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    done = warm.start(f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); {KNOWN.lstrip()}", cwd=place).join()
    assert done.returncode == 0, done.stderr
    told = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert {name: kinds for name, (_, kinds, _) in told.items() if name != "there"} == {
        "fine": [],
        "traceback": ["traceback"],
        "executed": ["executed", "executed"],
        "named": [],
        "outside": ["outside"],
        "message": ["message"],
        "status": ["message"],
        "control": ["control"],
        "waits": ["hang"],
        "spins": ["hang"],
        "prints": ["hang"],
        "polls": ["hang"],
        "two": [],
        "kill": ["crash"],
        "full": ["traceback"],
        "torn": ["crash"],
    }
    assert told["two"][2] == 2
    assert told["there"] == [True, True, 500], "killed before the rename, and in the midst of a write"


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("positions.csv", "index\n3\n8\n", (3, 8)),
        ("positions.csv", "8\n3\n", (3, 8)),
        ("positions.csv", "3.0\n14\n15\n", None),
        ("positions.csv", "index\n3,1\n", None),
        ("positions.csv", "index\nindex\n3\n", None),
        ("positions.txt", "7 # mine\n", (7,)),
        ("positions.txt", "3\n3\n", None),
        ("positions.csv", "name;index\na;8\n", (8,)),
        ("positions.json", "[true, 1]", None),
        ("names.txt", "a\x1db\nc\r\nc\n", frozenset({"a\x1db", "c"})),
        ("names.csv", "file\na\n", frozenset({"a"})),
        ("recipe.yaml", "a: 1\na: 1\n", None),
        ("recipe.yaml", "a: true\n", '{"a": true}'),
        ("recipe.yaml", "a: [yes, 1:20, 010, 1e-5, 2001-01-01]", '{"a": ["yes", "1:20", 10, 1e-05, "2001-01-01"]}'),
        ("recipe.yaml", "a: !!int '1'\n", None),
        ("recipe.yaml", "a: &x 1\nb: *x\n", None),
    ],
)
def test_second_readers_are_strict(tmp_path, name, content, meaning):
    (tmp_path / name).write_text(content)
    assert readers.meaning_of(tmp_path, name) == meaning


@pytest.mark.parametrize("name", ["photos/a.png", "arrays.npz", "weights.pt", "lists/names.txt", "recipe.yaml"])
def test_second_readers_do_not_wait_for_a_named_pipe(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    assert readers.meaning_of(tmp_path, name) is readers.UNCLEAR


def test_weights_have_a_form_beside_their_numbers(tmp_path):
    held = {"a": torch.zeros(2), "b": torch.ones(2)}
    for name, state in (
        ("1.pt", held),
        ("2.pt", held | {"a": torch.full((2,), torch.nan)}),
        ("3.pt", {"a": held["a"]}),
    ):
        torch.save(state, tmp_path / name)
    forms = [readers.form_of(tmp_path, f"{number}.pt") for number in (1, 2, 3)]
    assert forms[0] == forms[1] != forms[2]
    assert readers.meaning_of(tmp_path, "1.pt") != readers.meaning_of(tmp_path, "2.pt")


def test_a_file_is_spoilt_the_same_way_again_and_is_spoilt(tmp_path):
    path, ways = tmp_path / "a.json", set()
    for seed in range(60):
        twice = []
        for _ in range(2):
            path.unlink(missing_ok=True) if path.is_symlink() or not path.is_dir() else path.rmdir()
            path.write_text('{"a": [1, 2], "b": "x"}')
            how = mutations.spoil(path, [tmp_path / "a.json"], random.Random(seed))
            twice.append((how, path.read_bytes() if path.is_file() else None))
        assert twice[0] == twice[1]
        ways.add(twice[0][1])
    assert len(ways) > 30


def test_a_file_that_is_the_only_one_of_its_verb_is_spoilt_too(tmp_path):
    for seed in range(40):
        path = tmp_path / str(seed) / "a.csv"
        path.parent.mkdir()
        path.write_text("index\n3\n")
        assert mutations.spoil(path, [], random.Random(seed))


def test_tables_count_inputs_and_findings(tmp_path):
    line = {
        "group": "files",
        "number": 3,
        "verb": "plan",
        "how": "cut | here",
        "status": 2,
        "inputs": 1,
        "findings": [],
    }
    found = line | {"findings": [["hang", "no end"]], "number": 4, "status": None}
    (tmp_path / "cases.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps(found)}\n" + '{"group')
    table = tables.markdown(tables.read(tmp_path / "cases.jsonl"))
    cells = ["0"] * len(judging.KINDS)
    cells[judging.KINDS.index("hang")] = "1"
    assert f"| all | 2 | {' | '.join(cells)} |" in table
    assert "| hang | 1 | no end | files 4, plan: cut \\| here |" in table
    assert "2: 1, None: 1" in table


@pytest.mark.parametrize("count", [1, 2, 3, 8, 97])
def test_places_of_faults_lie_far_apart_and_leave_none_out(count):
    places = [spread(place, count) for place in range(count)]
    assert sorted(places) == [*range(count)]
    assert count < 8 or min(abs(one - other) for one, other in pairwise(places)) > count / 4
