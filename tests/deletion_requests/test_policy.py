import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import natmu.requests
from natmu.errors import SettingError
from natmu.records.policy import Policy
from natmu.requests.candidates import check_methods

EXAMPLE = Path(natmu.requests.__file__).with_name("policy.yaml")


def read(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return Policy.read(path)


def refused(tmp_path, text):
    """The sentence that refuses a policy; it names the file."""
    with pytest.raises(SettingError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "policy.yaml"))
    assert message.endswith(".")
    assert "\n" not in message
    return message.removeprefix(f"{tmp_path / 'policy.yaml'}")


def test_an_empty_file_is_the_default_policy(tmp_path):
    assert read(tmp_path, "") == read(tmp_path, "# nothing\n") == Policy() == Policy.from_values({})


def test_a_file_gives_what_stands_in_it(tmp_path):
    policy = read(
        tmp_path,
        """
        method: scrub
        settings: {epochs: 3}
        fallbacks: [{method: scrub, settings: {epochs: 4}}, {method: retrain, batch_size: 8}]
        guardrails: {retain_loss: 3}
        """,
    )
    assert [(one.method, one.settings, one.batch_size) for one in policy.candidates] == [
        ("scrub", {"epochs": 3}, None),
        ("scrub", {"epochs": 4}, None),
        ("retrain", {}, 8),
    ]
    assert [one.guarantee for one in policy.candidates] == ["approximate", "approximate", "exact"]
    assert policy.guardrails.retain_loss == 3


WRONG = {
    "deadline: 3": "deadline is not a setting (did you mean deadline_days?)",
    "guardrails: {retain_los: 2}": "guardrails.retain_los is not a setting (did you mean retain_loss?)",
    "fallbacks: [{methd: retrain}]": "fallbacks.0.methd is not a setting (did you mean method?)",
    "guardrails: {no_op: no}": "guardrails.no_op: write a number",
    "deadline_days: '30'": "deadline_days: write a whole number",
    "deadline_days: 366": "deadline_days: input should be less than or equal to 365",
    "retraining: {fraction: 0}": "retraining.fraction: input should be greater than 0",
    "retraining: {fraction: .nan}": "retraining.fraction: input should be a finite number",
    "settings: {lr: .inf}": "settings.lr",
    "guardrails: {forgotten: 1}": "guardrails.forgotten: write true or false",
    "fallbacks: retrain": "fallbacks: write a list",
    "fallbacks: [retrain]": "fallbacks.0: write a mapping",
    "audit:": "audit: write a mapping",
    "guarantee: exakt": "guarantee: input should be 'exact', 'certified' or 'approximate'",
    "method: natmuu": "method: there is no method 'natmuu' (did you mean natmu",
    "fallbacks: [{method: retrian}]": "fallbacks.0.method: there is no method 'retrian' (did you mean retrain",
    "guardrails:\n  no_op: 1\n  no_op: 1": "the key no_op appears twice in line 3",
    "method: natmu\n'method': natmu": "the key method appears twice in line 2",
    "method: [": "is not readable as YAML",
    "method: !!int ''": "is not readable as YAML",
    "- method": "holds no policy",
    "1: 2": "holds no policy",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_key_is_named_by_its_path(tmp_path, text):
    assert WRONG[text] in refused(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"Cannot read the policy .*nowhere\.yaml \(No such file or directory\)"):
        Policy.read(tmp_path / "nowhere.yaml")


CONTRADICTIONS = {
    "guarantee: exact": "exact is what retrain, sisa of shards and downdate of a head can give, and method (natmu)",
    "{guarantee: exact, method: retrain, fallbacks: [{method: scrub}]}": "fallbacks.0 (scrub) does not",
    "{guarantee: exact, fallbacks: [{method: scrub}]}": "method (natmu), fallbacks.0 (scrub) do not",
    "guarantee: certified": "certified is what retrain, sisa of shards and downdate of a head can give, and method",
    "{method: retrain, fallbacks: [{method: sisa}]}": "fallbacks.0 (sisa) is never reached",
    "fallbacks: [{method: retrain}, {method: scrub}]": "fallbacks.1 (scrub) is never reached",
    "{method: retrain, fallbacks: [{method: scrub}]}": "fallbacks.0 (scrub) is never reached, because method is",
    "{method: retrain, fallbacks: [{method: retrain, batch_size: 8}, {method: scrub}]}": (
        "fallbacks.0 (retrain) is never reached, because method is retrain; put retrain last; "
        "fallbacks.1 (scrub) is never reached, because method is retrain"
    ),
    "fallbacks: [{method: natmu}]": "fallbacks.0 is the same as method",
    "fallbacks: [{method: scrub, settings: {lr: 1, epochs: 2}}, {method: scrub, settings: {epochs: 2, lr: 1}}]": (
        "fallbacks.1 is the same as fallbacks.0"
    ),
    "fallbacks: [{method: retrain}, {method: retrain}]": "fallbacks.1 is the same as fallbacks.0",
    "audit: {references: 0, every: 2}": "audit.every says when references are trained, and audit.references is 0",
}


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_a_contradiction_is_refused(tmp_path, text):
    assert CONTRADICTIONS[text] in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "{guarantee: exact, method: retrain}",
        "{guarantee: certified, method: retrain}",
        "{guarantee: exact, method: sisa, fallbacks: [{method: retrain}]}",
        "{guarantee: certified, method: downdate, fallbacks: [{method: retrain}]}",
        "fallbacks: [{method: natmu, batch_size: 8}, {method: natmu, settings: {epochs: 2}}, {method: retrain}]",
        "retraining: {samples: null, fraction: null, requests: null, drift: null}",
        "{guarantee: exact, method: retrain, audit: {references: 0}}",
        "audit: {references: 0, level: standard}",
    ],
)
def test_what_is_sound_is_read(tmp_path, text):
    assert read(tmp_path, text) == Policy.from_values(yaml.safe_load(text))


def test_remarks_say_which_guardrails_have_no_effect():
    retrain = {"fallbacks": [{"method": "retrain"}]}
    (none,) = Policy.from_values({"audit": {"references": 0}} | retrain).remarks
    assert "over_forgetting, forgotten and earlier refuse no candidate" in none
    assert Policy.from_values(retrain).remarks == ()
    (rare,) = Policy.from_values({"audit": {"references": 2, "every": 3}} | retrain).remarks
    assert "audit.every is 3" in rare
    assert Policy.from_values({"audit": {"references": 2}} | retrain).remarks == ()
    (pending,) = Policy.from_values({"audit": {"references": 2}}).remarks
    assert "natmu requests retrain" in pending


def test_remarks_say_that_references_refuse_nothing_that_is_promised():
    exact = {"method": "sisa", "fallbacks": [{"method": "retrain"}]}
    (dear,) = Policy.from_values({"audit": {"references": 2}} | exact).remarks
    assert "a process retrains 2 models" in dear
    assert "Write audit: {references: 0}" in dear
    assert Policy.from_values({"audit": {"references": 0}} | exact).remarks == ()


def test_a_policy_in_a_ledger_is_read_whatever_is_refused_today():
    policy = Policy(method="a_method_of_a_package_that_is_gone", guarantee="exact")
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


def test_the_digest_follows_every_key():
    changed = {
        "method": "scrub",
        "settings": {"lr": 1.0},
        "batch_size": 8,
        "guarantee": "exact",
        "fallbacks": [{"method": "retrain"}],
        "audit": {"references": 2},
        "guardrails": {"earlier": False},
        "retraining": {"samples": 3},
        "deadline_days": 29,
    }
    assert changed.keys() == Policy.model_fields.keys()
    digests = {Policy.parse({key: value}).digest for key, value in changed.items()}
    assert len(digests | {Policy().digest}) == len(changed) + 1


def test_settings_that_a_method_does_not_have_are_refused():
    check_methods(Policy.from_values({"settings": {"epochs": 3}, "fallbacks": [{"method": "retrain"}]}))
    with pytest.raises(SettingError, match=r"p\.yaml: method: natmu: epoch is not a setting"):
        check_methods(Policy.from_values({"settings": {"epoch": 3}}), "p.yaml")
    with pytest.raises(SettingError, match=r"policy: fallbacks\.0: scrub: epochs: .*\(got '-1'\)"):
        check_methods(Policy.from_values({"fallbacks": [{"method": "scrub", "settings": {"epochs": -1}}]}))


def test_candidates_that_differ_by_a_default_alone_are_the_same():
    from natmu.methods import method_named

    default = method_named("scrub").configured({}).model_dump(mode="json")["epochs"]
    twice = {"method": "scrub", "fallbacks": [{"method": "scrub", "settings": {"epochs": default}}]}
    with pytest.raises(SettingError, match=r"fallbacks\.0 is the same as method with the defaults of scrub"):
        check_methods(Policy.from_values(twice))
    twice["fallbacks"][0]["settings"]["epochs"] = default + 1
    check_methods(Policy.from_values(twice))


def _keys(settings, path=()):
    """The paths of all keys of settings."""
    for name, field in settings.model_fields.items():
        yield (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, (*path, name))


def _commented(text):
    """The path of each key of a YAML text, and whether a comment stands above it."""
    path, before = [], ""
    for line in text.splitlines():
        key, colon, _ = line.partition(":")
        if colon and not line.lstrip().startswith("#"):
            path = [*path[: (len(key) - len(key.lstrip())) // 2], key.strip()]
            yield tuple(path), before.lstrip().startswith("#")
        before = line


def test_the_example_explains_every_key_and_is_the_default():
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = dict(_commented(text))
    assert list(keys) == list(_keys(Policy))
    assert all(keys.values())
    assert Policy.read(EXAMPLE) == Policy()
    assert yaml.safe_load(text) == Policy().model_dump(mode="json")


def test_a_policy_is_read_without_pytorch():
    code = (
        "import sys; from pathlib import Path; from natmu.records.policy import Policy; Policy.read(Path(sys.argv[1]))"
    )
    code += "; print(*({'torch', 'scipy', 'sklearn'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code, str(EXAMPLE)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_known_keys_are_listed_once_however_many_are_wrong():
    with pytest.raises(SettingError) as caught:
        Policy.from_values({f"wrong{number}": 1 for number in range(9)})
    text = str(caught.value)
    assert text.count("known here: method, settings") == 1
    assert text.count("is not a setting") == 4
    assert "and 5 more" in text
