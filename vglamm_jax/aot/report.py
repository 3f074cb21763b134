"""What `vglamm aot train` found: on the screen, as JSON, and as the table of `launch/README.md`."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from vglamm_jax import chips
from vglamm_jax.aot.compiling import Compiled
from vglamm_jax.aot.hlo import Costs, File, Operation, Sent, costs
from vglamm_jax.chips import GIB, Chip

BEGIN, END = "<!-- aot table: begin -->", "<!-- aot table: end -->"
COLUMNS = (
    *("topology", "config", "mesh", "rows a step", "arguments, GiB", "temporaries, GiB", "peak, GiB", "fits"),
    *("TFLOP a chip", "compute, ms", "collectives, ms", "step, ms", "MFU", "nothing overlapping, ms", "MFU so"),
)


@dataclasses.dataclass(frozen=True)
class Result:
    """A step compiled for a topology. Bytes and times are of one device, FLOPs of all.

    Attributes:
      config: its name, `train_lora`.
      mesh: devices along each axis, `{"data": 1, "fsdp": 16, "tensor": 1}`.
      batch: rows of a step.
      compiling: seconds.
      complaints: of the compiler, about the partitioning.
      flops: of the model, by part (`train.flops.of_step`).
    """

    config: str
    topology: str
    slices: int
    mesh: dict[str, int]
    batch: int
    arguments: int
    outputs: int
    temporaries: int
    peak: int
    code: int
    compiling: float
    complaints: tuple[str, ...]
    flops: dict[str, float]
    costs: Costs

    @property
    def chip(self) -> Chip:
        return chips.of_topology(self.topology)

    @property
    def devices(self) -> int:
        count = 1
        for size in self.mesh.values():
            count *= size
        return count

    @property
    def fits(self) -> bool:
        return self.peak + self.code <= self.chip.usable

    @property
    def least(self) -> float:
        """Seconds of the model's FLOPs at the chip's peak."""
        return sum(self.flops.values()) / self.devices / self.chip.flops

    @property
    def mfu(self) -> float:
        """Of the predicted step: transfers overlap as the compiler scheduled them."""
        return self.least / self.costs.overlapped

    @property
    def share_sending(self) -> float:
        """What collectives would take alone, of the predicted step."""
        return self.costs.sending / self.costs.overlapped


def result(
    config: str, topology: str, slices: int, mesh, batch: int, program: Compiled, flops: Mapping[str, float]
) -> Result:
    """Reads a program compiled for `mesh` (of `jax.sharding`), rows `batch`, model FLOPs by part.

    Raises:
      ValueError: no figures of the topology's chips are known, or the program's text is not understood.
    """
    return Result(
        config=config,
        topology=topology,
        slices=slices,
        mesh=dict(mesh.shape),
        batch=batch,
        arguments=program.arguments,
        outputs=program.outputs,
        temporaries=program.temporaries,
        peak=program.peak,
        code=program.code,
        compiling=program.seconds,
        complaints=tuple(program.complaints),
        flops=dict(flops),
        costs=costs(program.hlo, chips.of_topology(topology), list(mesh.devices.flat)),
    )


def show(found: Result) -> None:
    """Prints everything."""
    print("\n".join((*_sizes(found), "", *_times(found), "", *_files(found.costs), "", *_operations(found.costs))))
    for note in (*found.costs.notes, *found.complaints):
        print(f"note: {note}")


def _sizes(found: Result) -> list[str]:
    slices = f"{found.slices} slices of " if found.slices > 1 else ""
    axes = ", ".join(f"{name} {size}" for name, size in found.mesh.items())
    fits = "fits" if found.fits else "DOES NOT FIT"
    parts = {"arguments": found.arguments, "temporaries": found.temporaries, "program": found.code, "peak": found.peak}
    sizes = ", ".join(f"{size / GIB:.2f} {name}" for name, size in parts.items())
    return [
        f"{found.config} on {slices}{found.topology}: {found.devices} devices, {axes}; {found.batch} rows a step",
        f"memory       {sizes} GiB a device; {found.chip.usable / GIB:.2f} usable: {fits}",
    ]


def _times(found: Result) -> list[str]:
    spent, total = found.costs, sum(found.flops.values())
    parts = sorted(found.flops.items(), key=lambda part: -part[1])
    shares = ", ".join(f"{name} {flops / total:.0%}" for name, flops in parts if flops > 0)
    lines = [
        f"model        {total / found.devices / 1e12:.2f} TFLOP a device ({shares})",
        f"             {found.least * 1e3:.1f} ms at the peak of {found.chip.flops / 1e12:.0f} TFLOP/s",
        f"compute      {spent.compute * 1e3:.1f} ms by the compiler's cycles at {found.chip.clock / 1e9:.2f} GHz, "
        f"of which {spent.estimated_here * 1e3:.1f} ms estimated here (attention kernels, plain copies)",
        f"             {spent.least * 1e3:.1f} ms at least, at the published speed of matrix units and HBM",
        f"             {spent.flops / 1e12:.2f} TFLOP of products, recomputed ones too, attention kernels aside",
        f"collectives  {spent.sending * 1e3:.1f} ms, {found.share_sending:.1%} of the step",
    ]
    for sent in spent.collectives:
        lines.append(
            f"  {sent.kind:<19} {sent.network}  {sent.runs:>7} runs {sent.bytes / 1e9:>9.3f} GB sent"
            f" {sent.seconds * 1e3:>9.1f} ms"
        )
    ways = {
        "step         {} ms, transfers overlapping as scheduled: MFU {}": spent.overlapped,
        "             {} ms, if nothing overlapped: MFU {}": spent.step,
        "             {} ms, were the core as fast as published: MFU {}": spent.least + spent.sending,
    }
    lines += [way.format(f"{seconds * 1e3:.1f}", f"{found.least / seconds:.1%}") for way, seconds in ways.items()]
    return lines


def _files(spent: Costs, most: int = 10) -> list[str]:
    lines = ["by file of Python (ms a step: compute, collectives)"]
    for file in spent.files[:most]:
        lines.append(f"{file.compute * 1e3:9.1f} {file.sending * 1e3:9.1f}  {file.name or 'the compiler itself'}")
    return lines


def _operations(spent: Costs) -> list[str]:
    lines = ["the most expensive operations (ms a step, share, runs x cycles, line of Python, operation)"]
    for operation in spent.operations:
        lines.append(
            f"{operation.seconds * 1e3:9.1f} {operation.seconds / spent.overlapped:6.1%} {_runs(operation):>17}  "
            f"{operation.source or '-'}  {operation.name} {_last(operation.what)}".rstrip()
        )
    return lines


def _last(path: str) -> str:
    """The last steps of a JAX path: `transpose(jvp())/while/body/checkpoint/dot_general`."""
    return "/".join(step for step in path.split("/")[1:] if step != "closed_call")[-60:]


def _runs(operation: Operation) -> str:
    cycles = "estimated" if operation.cycles is None else str(operation.cycles)
    return f"{operation.runs} x {cycles}"


def table(found: Iterable[Result]) -> str:
    """Markdown: one row a result, bytes in GiB a device, times in milliseconds."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_cells, found)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(found: Result) -> tuple[str, ...]:
    spent, slices = found.costs, f"{found.slices} x " if found.slices > 1 else ""
    return (
        f"{slices}{found.topology}",
        found.config,
        " x ".join(f"{name} {size}" for name, size in found.mesh.items() if size > 1) or "1",
        str(found.batch),
        *(f"{size / GIB:.2f}" for size in (found.arguments, found.temporaries, found.peak)),
        "yes" if found.fits else "no",
        f"{sum(found.flops.values()) / found.devices / 1e12:.1f}",
        f"{spent.compute * 1e3:.0f}",
        f"{spent.sending * 1e3:.0f} ({found.share_sending:.0%})",
        f"{spent.overlapped * 1e3:.0f}",
        f"{found.mfu:.1%}",
        f"{spent.step * 1e3:.0f}",
        f"{found.least / spent.step:.1%}",
    )


def write_table(found: Iterable[Result], path: Path) -> None:
    """Puts the table between the marks BEGIN and END of a Markdown file.

    Raises:
      ValueError: the file has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for the table: add the lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{table(found)}{END}{after}", encoding="utf-8")


def save(found: Result, path: Path) -> None:
    """As JSON, from which `load` makes the same again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Result:
    """Raises ValueError for a file that `save` did not write."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        spent = values["costs"]
        spent["collectives"] = tuple(Sent(**sent) for sent in spent["collectives"])
        spent["files"] = tuple(File(**file) for file in spent["files"])
        spent["operations"] = tuple(Operation(**operation) for operation in spent["operations"])
        spent["notes"] = tuple(spent["notes"])
        return Result(**{**values, "costs": Costs(**spent), "complaints": tuple(values["complaints"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of `vglamm aot train --json`: {error!r}") from error
