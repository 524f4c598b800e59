"""Methods of installed packages: known by name, loaded when asked for, and refused in one sentence when broken."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from natmu.cli import methods as verb
from natmu.errors import SettingError
from natmu.methods import METHODS, method_named, registry
from natmu.methods.catalogue import plug_in_catalogue
from natmu.studies.recipe import MethodEntry

SOURCE = '''
from natmu.methods import Method
from natmu.types import Settings
{before}

class Mine(Method):
    """Does as it likes."""

    name = {name!r}

    class Config(Settings):
        """Settings."""

        k: {kind} = 1

    def {run}(self, problem):
        return problem.model
'''


class Distribution:
    """Stands for an installed package."""

    def __init__(self, name):
        self.name = name


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Installs a package with one entry, as far as the import system and the list of entry points can tell."""
    points = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints(points))
    registry.plug_ins.cache_clear()

    def write(name, *, target="Mine", package=None, called=None, before="", kind="int", run="run"):
        module = f"their_{package or name}".replace("-", "_")
        text = SOURCE.format(name=name if called is None else called, before=before, kind=kind, run=run)
        (tmp_path / f"{module}.py").write_text(text)
        point = EntryPoint(name, f"{module}:{target}", registry.GROUP)
        vars(point).update(dist=Distribution(package or f"package-of-{name}"))
        points.append(point)
        registry.plug_ins.cache_clear()
        return module

    yield write
    registry.plug_ins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def test_a_method_of_a_package_is_known_everywhere_and_imported_when_asked_for(install):
    module = install("mine")
    with pytest.raises(SettingError, match="did you mean mine"):
        method_named("minee")
    assert method_named("natmu") in METHODS
    assert module not in sys.modules
    assert method_named("mine").__name__ == "Mine"
    assert method_named("mine") is method_named("mine")
    assert method_named("mine") not in METHODS
    assert MethodEntry.parse({"method": "mine", "settings": {"k": 3}}).settings == {"k": 3}
    with pytest.raises(SettingError, match="speed is not a setting"):
        MethodEntry.parse({"method": "mine", "settings": {"speed": 3}})


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"before": "import nowhere_at_all"}, "cannot be imported (ModuleNotFoundError"),
        ({"before": "1 / 0"}, "cannot be imported (ZeroDivisionError"),
        ({"before": "def"}, "cannot be imported (SyntaxError"),
        ({"before": "from natmu.methods import method_named; method_named('nonesuch')"}, "cannot be imported"),
        ({"target": "Yours"}, "cannot be imported (AttributeError"),
        ({"target": "Settings"}, "is not a method"),
        ({"target": "__name__"}, "is not a method"),
        ({"run": "walk"}, "a run of its own"),
        ({"called": "other"}, "calls itself 'other'"),
    ],
)
def test_a_broken_package_is_one_sentence_when_asked_for_and_harms_nothing_else(install, capsys, faults, said):
    install("broken", **faults)
    install("mine")
    with pytest.raises(SettingError) as error:
        method_named("broken")
    assert said in str(error.value)
    assert str(error.value).startswith("Method 'broken' of the package package-of-broken ")
    assert "\n" not in str(error.value)
    rows, sentences = plug_in_catalogue()
    assert [row["name"] for row in rows] == ["mine"]
    assert sentences == [str(error.value)]
    verb.run(None)
    told = capsys.readouterr()
    assert "\nnatmu " in told.out
    assert "\nmine " in told.out
    assert told.err == f"natmu: {error.value}\n"
    with pytest.raises(SettingError, match="package-of-broken"):
        verb.run("broken")


def test_a_name_that_we_have_stays_ours(install):
    install("salun", package="theirs")
    assert method_named("salun") in METHODS
    rows, (sentence,) = plug_in_catalogue()
    assert rows == []
    assert "package theirs has the name of one of natmu's own" in sentence


def test_a_name_that_two_packages_have_is_nobodys(install):
    install("mine", package="first")
    install("mine", package="second")
    with pytest.raises(SettingError, match="package first has the same name as one of second"):
        method_named("mine")
    assert len(plug_in_catalogue()[1]) == 2


def test_settings_that_cannot_be_described_cost_a_row_and_no_more(install):
    install("odd", kind="type(lambda: None) | int", before="from collections.abc import Callable")
    rows, sentences = plug_in_catalogue()
    assert rows == []
    assert len(sentences) == 1
    assert "package-of-odd" in sentences[0]
