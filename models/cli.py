"""`banksman model …`: each command's module, and with it torch where that needs it, is imported when it runs.

So the list of commands, and the help of all but `train` and `closer`, appear where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import typer

from models.errors import CommandError

COMMANDS = {
    "data": ("models.data.commands", "Labelled photos: build, report, review, import, export, pseudo-label."),
    "train": ("models.train", "Train a detector on a labelled set; the same command goes on where it was stopped."),
    "closer": ("models.closer", "Train the network that looks closer before somebody is blamed; into a model folder."),
    "export": ("models.export", "Export trained weights to a model folder for the node."),
    "quantize": ("models.quantize", "Write a model folder in int8."),
    "calibration": ("models.calibration", "Write calibration photos for the Hailo compiler (models/HAILO.md)."),
    "eval": ("models.eval.command", "Measure a model on held-out photos and as a whole node; JSON and a report."),
    "runtimes": ("models.eval.runtimes", "Compare the runtimes of a model: mAP50, speed, size."),
    "harvest": ("models.harvest", "Make a queue of labels out of false alarms."),
    "release": ("models.release", "Ship what was trained: export, int8, everything measured anew, the model card."),
    "card": ("models.card", "Write the model card out of what was measured."),
}
"""By name the module, which has a Typer `app` or a `main`, and what the command does."""

_EXTRAS = {"ncnn": "ncnn", "openvino": "openvino"} | dict.fromkeys(
    ("onnx", "onnxslim", "pnnx", "torch", "torchvision", "ultralytics"), "train"
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Data, training, export and evaluation of the detector.",
)


def _runner(module: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        try:
            loaded = import_module(module)
            command = getattr(loaded, "app", None)
            if command is None:
                command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                command.command()(loaded.main)
            command(context.args, prog_name=context.command_path)
        except CommandError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing in {"", "models"}:
                raise
            extra = _EXTRAS.get(missing, "node")
            typer.echo(
                f"error: this needs {missing}; install the `{extra}` extra: pip install -c requirements.txt -e "
                f"'.[{extra}]'" + (" (or `make train-env`)" if extra == "train" else ""),
                err=True,
            )
            raise typer.Exit(1) from error

    return run


for _name, (_module, _does) in COMMANDS.items():
    app.command(
        _name,
        help=_does,
        add_help_option=False,  # that of the module's own command is shown
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    )(_runner(_module))
