"""The page on file formats, from the types that read and write the files."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import tempfile
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, JsonValue
from tests.records import folders

from natmu.engine.run_names import RunNames
from natmu.records import ledger
from natmu.records import lineage as kinds
from natmu.records.audit import Audit
from natmu.records.decoded import DecodedImages
from natmu.records.evidence import Evidence
from natmu.records.files import File
from natmu.records.forgetting import ForgetRequest
from natmu.records.ledger import Entry, Head
from natmu.records.precision import PrecisionChoice
from natmu.records.result import ResultRecord
from natmu.records.run import RunFolder, RunRecord
from natmu.records.samples import Exposed, Sample
from natmu.records.search import Search, Trial
from natmu.records.service import ServiceRecord
from natmu.records.study import Hybrids, StudyAudits
from natmu.records.table import Summary, Table

HEAD = """\
# File formats

<!-- Made from the types in src/natmu/records by `make catalogue`; edit the docstrings there. -->

natmu writes these files and reads no others of its own. A *run folder* holds one model, a *study folder* a table of
many; `natmu.records` reads them without PyTorch:

```python
from pathlib import Path

from natmu.records.run import RunFolder
from natmu.records.study import StudyFolder

record = RunFolder(Path("runs/original")).record
table = StudyFolder(Path("runs/demo")).table
```

What holds for all of them:

- A file appears whole or not at all, and survives a power cut: it is written as `.NAME.MACHINE.PROCESS.partial`, synced
  and then renamed. What a writer left that was killed is removed by the next command that writes there.
- A run's folder that is called by a digest and lacks its `record.json` is a copy that was broken off: it is moved to
  `DIGEST.incomplete`, and the run is computed again.
- Each JSON file has a `format`, which changes with its keys and what they mean, and a `checksum` of its content. A file
  of another format, and one that was changed after it was written, is refused with a sentence that names it.
- `files` holds a digest of each file that belongs to a JSON file, so that files of two runs cannot be mixed up.
- A *digest* is hexadecimal: 16 digits name a run by its lineage, 32 digits a content (BLAKE2b).
- Numbers are finite. What is not known is `null` in JSON, and an empty cell in CSV.
- Accuracies are in percent and times in seconds; [scores.md](scores.md) has the unit of every score.
"""

GROUPS: tuple[tuple[str, str], ...] = (
    ("Run folders", "`runs/NAME`, where the name is the run's digest unless the user gave another one."),
    ("Audits", "The folder `audit` of an audited run."),
    (
        "Saved results",
        "What `save` writes of a result of `natmu.unlearn`; its audit lies in the folder `audit`, as above.",
    ),
    ("Study folders", "`runs/NAME` of a study, beside the folders of its runs."),
    ("Searches", "In the study folder too."),
    ("Services", "The folder that `natmu requests init` makes; [deletion-requests.md](deletion-requests.md) uses it."),
    (
        "Shards and heads from Python",
        "The folder `store` of `natmu.train_shards` has run folders, as above, and `samples.npz`. A head has one file.",
    ),
    ("Decoded images", "The folder `decoded` in the folder of data. If you delete it, you lose only time."),
    (
        "Fastest arithmetic",
        "The user's folder of caches: `natmu` in `XDG_CACHE_HOME`, or `~/.cache/natmu`. If you delete such a file, "
        "it is measured again, and results in bf16 may then differ from earlier ones in their last bits.",
    ),
)

LINEAGES = (kinds.Trained, kinds.Stage, kinds.Unlearned, kinds.Imported, kinds.Initial, kinds.Relearned)
BODIES = get_args(get_args(ledger.Body)[0])

SECTIONS: tuple[tuple[str, str, type, tuple[type, ...]], ...] = (
    ("Run folders", "record.json", RunRecord, LINEAGES),
    ("Run folders", ".work/names.json", RunNames, ()),
    ("Audits", "audit/audit.json", Audit, ()),
    ("Audits", "audit/samples.csv", Sample, ()),
    ("Audits", "audit/exposed.npz", Exposed, ()),
    ("Saved results", "result.json", ResultRecord, ()),
    ("Study folders", "table.json", Table, ()),
    ("Study folders", "audit.json", StudyAudits, ()),
    ("Study folders", "hybrids.npz", Hybrids, ()),
    ("Study folders", "summary.json", Summary, ()),
    ("Searches", "search.json", Search, ()),
    ("Searches", "trials.csv", Trial, ()),
    ("Services", "service.json", ServiceRecord, ()),
    ("Services", "ledger.sqlite", Entry, BODIES),
    ("Services", "ledger.head", Head, ()),
    ("Services", "evidence/NNNN/evidence.json", Evidence, ()),
    ("Decoded images", "NAME.json", DecodedImages, ()),
    ("Fastest arithmetic", "precision-NAME.json", PrecisionChoice, ()),
)
"""Group, file, type of its content, and types to be explained first."""

OTHERS = """\
### The other files of a run

| file | holds |
|---|---|
| `model.safetensors` | parameters and buffers of the model, by their PyTorch names; of a model in shards with `members.K.` before those of shard K |
| `predictions.safetensors` | `train_logits` float32 `(N, C)` and `train_labels` int64 `(N,)`; likewise `test_…` and, where there is one, `holdout_…`; `…_fine_labels` int64 `(N,)` where the data has them; all in the order of the data; `…_rows` int64 `(N,)`, their positions when the data was whole, where samples were deleted since |
| `history.csv` | one row per epoch: `epoch`, counted from 1, and what was noted of it, such as `loss`, `accuracy`, `lr`, `seconds` |
| `forget.npy` | positions of the forget samples in the training data, int64 `(F,)`, ascending; of runs with a forget set |
| `confidence.npy` | mean confidence of each training sample during training, float32 `(N,)`, 0 to 1; of originals, and of stages, where it is 0 of samples that a stage did not see |
| `division.npy` | shard and slice of each training sample, int16 `(N, 2)`, both from 0; -1 of samples that were gone when the model was trained; of models in shards and their stages. A stage has predictions only if it is the last one of its shard |
| `features.safetensors` | rows that heads are fitted on, of a backbone: `train` float32 `(N, P)`, likewise `test` and, where there is one, `holdout`; in the order of the whole data; rows of purged samples are 0 |
| `head.safetensors` | what a head needs to forget, of models with a ridge or logistic head: `natmu.heads.load_head` reads it (see [Heads](#heads)) |
"""  # noqa: E501 - rows of a table are lines

PIXELS = """\
### NAME.npy

The pixels, uint8 `(N, C, H, W)`, of all images of a folder. The name holds their number, their form (`resize256`,
`crop224`) and a digest of the bytes of all image files and of the version of Pillow.
"""

SERVICE = """\
### The other files of a service

| file | holds |
|---|---|
| `policy.yaml` | the policy, yours to edit; every key is explained in the one that `natmu requests init` writes |
| `ledger.sqlite` | one table, `entries`: `number`, `time`, `body` (JSON with sorted keys), `previous`, `hash`, `seal`; triggers refuse changes; `user_version` is the format |
| `census.npz` | the samples that the service began with: names, positions, labels, and keyed digests of pixels and of files; sealed by the service's key |
| `models/` | the store of runs: the original, candidates, and the retrained models that they are compared with |
| `current` | a link to the run of the deployed model |
| `service.key` | 32 random bytes for keyed digests and seals, which only the owner may read |
| `signing.key`, `signing.pub` | Ed25519, PEM; others verify evidence with the second |
| `evidence/NNNN/` | `evidence.json`, `evidence.html`, `evidence.sig` (base64) and a copy of `signing.pub` |
"""  # noqa: E501 - rows of a table are lines

PYTHON = """\
### samples.npz

What the shards of the folder were trained on, by which samples are known again when others are gone:

| array | holds |
|---|---|
| `format` | 1 |
| `model` | the lineage of the whole training, JSON in UTF-8 |
| `names` | BLAKE2b digests of the names of all samples (NFC, UTF-8), uint8 `(N, 16)` |
| `contents` | likewise of their labels, in digits, each with its input behind it: bytes, or float32 in native order |
| `checksum` | a digest of all of these |

### Heads

What `save` of a head writes and `natmu.heads.load_head` reads is a safetensors file, also in run folders.
Its arrays are those of `state()`.
Its metadata has `format` 1, `head` (`ridge` or `logistic`), and `checksum`, a BLAKE2b digest of all arrays.
"""

BEST = """\
### best.yaml

The recipe with the best settings, for `natmu bench`. It is a recipe like any other, and yours to edit; natmu does not
read it back as a record.
"""

BEHIND = {
    "Run folders": OTHERS,
    "Searches": BEST,
    "Services": SERVICE,
    "Shards and heads from Python": PYTHON,
    "Decoded images": PIXELS,
}
"""What follows the typed files of a group."""


def markdown() -> str:
    """The page."""
    explained: set[type] = set()
    blocks = [HEAD]
    for group, where in GROUPS:
        blocks.append(f"## {group}\n\n{where}\n")
        for _, file, content, first in (section for section in SECTIONS if section[0] == group):
            blocks.append(_section(file, content))
            blocks += [_part(part) for part in _parts(content, first) if part not in explained]
            explained.update(_parts(content, first))
        blocks += [BEHIND[group]] if group in BEHIND else []
    return "\n".join(blocks)


def _section(file: str, content: type) -> str:
    """One file."""
    summary = _summary(content)
    version = f" Format {content.model_fields['format'].default}." if issubclass(content, File) else ""
    example = _example(file)
    return f"### {file}\n\n{summary}{version}\n\n{_keys(content)}\n" + (f"\n{example}\n" if example else "")


def _part(content: type) -> str:
    """A type that is a part of another one."""
    return f"#### {content.__name__}\n\n{_summary(content)}\n\n{_keys(content)}\n"


def _summary(content: type) -> str:
    """The first paragraph of a docstring, without the name of the file."""
    first = " ".join((content.__doc__ or "").strip().split("\n\n")[0].split())
    return re.sub(r" \(``[\w./]+``\)", "", first).replace("``", "`")


def _keys(content: type) -> str:
    """The keys of a type as a table."""
    meanings = {name: text for kind in reversed(content.__mro__) for name, text in attributes(kind).items()}
    rows = []
    for name, type_, default in _fields(content):
        meaning = default or meanings.get(name, "")
        assert meaning, f"{content.__name__}.{name} is not explained in its docstring"
        rows.append(f"| `{name}` | {type_} | {meaning[0].upper()}{meaning[1:]} |")
    extra = ["| `checksum` | digest | Of all other keys |"] if issubclass(content, File) else []
    heads = {Sample: "column", Trial: "column", Exposed: "array", Hybrids: "array"}
    return "\n".join([f"| {heads.get(content, 'key')} | type | meaning |", "|---|---|---|", *rows, *extra])


def _fields(content: type) -> list[tuple[str, str, str]]:
    """Name, type and, of keys that always have one value, meaning."""
    if dataclasses.is_dataclass(content):
        return [(field.name, "array", "") for field in dataclasses.fields(content)]
    assert issubclass(content, BaseModel)
    found = []
    for name, field in content.model_fields.items():
        shown = "digest" if _is_digest(field.metadata) else shown_type(field.annotation)
        fixed = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        meaning = "names the kind" if len(fixed) == 1 and name in ("kind", "rule") else field.description or ""
        if name == "format":
            meaning = "changes with the keys and what they mean"
        found.append((field.alias or name, shown, meaning))
    return sorted(found, key=lambda field: field[0] != "format")


def shown_type(annotation: Any) -> str:
    """A type in words, with links to those that are explained on the page."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return "digest" if _is_digest(inner[1:]) else shown_type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if kind is type(None) else shown_type(kind) for kind in inner)
    if origin in (tuple, list):
        one = shown_type(inner[0])
        return f"list of {one}" if origin is list or inner[-1] is Ellipsis else f"list of {len(inner)}: {one}"
    if origin is dict:
        return f"object of {shown_type(inner[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        file = next((file for _, file, content, _ in SECTIONS if content is annotation), None)
        return f"[{annotation.__name__}](#{_anchor(file or annotation.__name__)})"
    plain = {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any value"}
    return plain.get(annotation) or {ForgetRequest: "text", JsonValue: "any value"}[annotation]


def _is_digest(metadata: Iterable[Any]) -> bool:
    """Whether a text is a digest: it has the pattern of one. Names have patterns too."""
    return bool(_patterns(metadata) & _patterns(get_args(kinds.Digest)[1:]))


def _patterns(metadata: Iterable[Any]) -> set[str]:
    """The patterns that a text must have."""
    held = [*metadata]
    held += [deeper for outer in held for deeper in getattr(outer, "metadata", ())]
    return {rule.pattern for rule in held if getattr(rule, "pattern", None)}


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _parts(content: type, first: tuple[type, ...]) -> list[type]:
    """The types that a type is made of, outer ones first."""
    found: list[type] = [*first]
    queue = [content, *first]
    files = [held for _, _, held, _ in SECTIONS]
    while queue:
        for part in _inner(queue.pop(0)):
            if part not in (*found, *files):
                found.append(part)
                queue.append(part)
    return found


def _inner(content: type) -> list[type]:
    """The types of a type's own keys."""
    if not issubclass(content, BaseModel):
        return []
    queue, found = [field.annotation for field in content.model_fields.values()], []
    while queue:
        annotation = queue.pop(0)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        queue += get_args(annotation)
    return found


def attributes(content: type) -> dict[str, str]:
    """What a docstring says of each attribute, its own and inherited ones."""
    _, _, block = inspect.cleandoc(content.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for line in block.splitlines():
        if match := re.fullmatch(r" {4}(\w+): (.+)", line):
            name = match[1]
            found[name] = match[2]
        elif line.startswith(" " * 8) and found:
            found[name] += f" {line.strip()}"
    alias = {name: field.alias for name, field in getattr(content, "model_fields", {}).items() if field.alias}
    return {alias.get(name, name): text.replace("``", "`").rstrip(".") for name, text in found.items()}


def _example(file: str) -> str:
    """The beginning of such a file."""
    with tempfile.TemporaryDirectory() as root:
        study = folders.make_study(Path(root))
        run = Path(root) / folders.an_unlearned().digest
        RunFolder(run).record  # noqa: B018 - it can be read
        summary = Summary(
            seconds=41.5, rows=({"scenario": "random:10%", "method": "natmu", "scores": {"avg_gap": 3.0}},)
        )
        summary.write(study / "summary.json")
        path = (study if (study / file).exists() else run) / file
        if not path.exists():  # only a program has what is saved there
            return ""
        if path.suffix == ".csv":
            return "```text\n" + "\n".join(path.read_text().splitlines()[:3]) + "\n```"
        if path.suffix != ".json" or file.startswith("NAME"):
            return ""
        content = _shortened(json.loads(path.read_text()))
    return f"<details><summary>Example</summary>\n\n```json\n{_json(content)}\n```\n\n</details>"


def _json(value: Any, indent: int = 0, room: int = 100) -> str:
    """JSON in which what fits a line stands on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= room or not isinstance(value, dict | list):
        return line
    margin = " " * (indent + 2)
    if isinstance(value, dict):
        lines = [f"{margin}{json.dumps(name)}: {_json(held, indent + 2)}" for name, held in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(margin + _json(held, indent + 2) for held in value) + "\n" + " " * indent + "]"


def _shortened(value: Any, key: str = "") -> Any:
    """Long lists by their first entry, and digests that depend on compression by their beginning."""
    if isinstance(value, dict):
        if key == "files":
            return dict.fromkeys(value, "0f1e2d3c…")
        return {name: "0f1e2d3c…" if name == "checksum" else _shortened(held, name) for name, held in value.items()}
    if isinstance(value, list):
        return [_shortened(held) for held in (value if len(value) < 3 or isinstance(value[0], str) else value[:1])]
    return value
