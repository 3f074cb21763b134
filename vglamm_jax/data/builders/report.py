"""What a build was asked for, has written and has left out; it lies beside the files."""

import dataclasses
import json
from typing import Any

from etils import epath

from vglamm_jax.data.builders.stored import Storage
from vglamm_jax.data.schema import BadRecord

FILE = "build_report.json"


@dataclasses.dataclass(frozen=True)
class Report:
    """`asked` is what decides the content: the source's options and the storage; `reused` if it was there before."""

    directory: epath.Path
    examples: int
    bad: tuple[BadRecord, ...] = ()
    asked: dict[str, Any] = dataclasses.field(default_factory=dict)
    reused: bool = False


def asked(options: dict[str, Any], storage: Storage) -> dict[str, Any]:
    return {"options": options, "storage": dataclasses.asdict(storage)}


def read_report(directory: epath.Path) -> Report:
    """Raises FileNotFoundError when nothing was built there."""
    if not (directory / FILE).exists():
        raise FileNotFoundError(f"{directory / FILE} is missing: not built by vglamm data build; choose another folder")
    content = json.loads((directory / FILE).read_text())
    bad = tuple(BadRecord(**record) for record in content["bad"])
    return Report(directory, content["examples"], bad, content["asked"])


def write_report(report: Report) -> None:
    content = {"examples": report.examples, "bad": list(map(as_dict, report.bad)), "asked": report.asked}
    (report.directory / FILE).write_text(json.dumps(content, indent=1) + "\n")


def as_dict(record: BadRecord) -> dict[str, str]:
    return {"source": record.source, "id": record.id, "reason": record.reason}
