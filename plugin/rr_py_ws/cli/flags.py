"""The global flags of RoadRunner's command line: legal before and after the command, with one meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rr_py_ws import __version__
from rr_py_ws.errors import ConfigError, all_of

if TYPE_CHECKING:
    from rr_py_ws.config import Config


@dataclass(slots=True)
class Flags:
    """The global flags; one object for the program and its command."""

    config: str = ".rr.yaml"
    workdir: str = ""
    dotenv: str = ""
    overrides: list[str] = field(default_factory=list)
    debug: bool = False
    silent: bool = False
    pid: bool = False
    force: bool = False

    def load_config(self) -> Config:
        """Change to the working directory and read the file.

        Raises:
            ConfigError: the file cannot be used, or the directory does not exist.
        """
        config, errors = self.read_config()
        if errors:
            raise all_of(errors)
        return config

    def read_config(self) -> tuple[Config, list[ConfigError]]:
        """Change to the working directory and read the file, as far as it can be used.

        Returns:
            The configuration, and what is wrong in the file.

        Raises:
            ConfigError: the file cannot be read at all, or the directory does not exist.
        """
        # Loaded late: pydantic and YAML take longer than all the rest of a short command.
        from rr_py_ws.config import read_config

        path, directory = self.enter_workdir()
        return read_config(path, workdir=directory, overrides=self.overrides, dotenv=self.dotenv or None)

    def load_again(self, loaded: Config) -> Config:
        """Read the file of a configuration once more; the working directory is that of the first time.

        Raises:
            ConfigError: the file cannot be used.
        """
        from rr_py_ws.config import load_config

        return load_config(
            loaded.path, workdir=loaded.directory, overrides=self.overrides, dotenv=self.dotenv or None
        )

    def enter_workdir(self) -> tuple[Path, Path]:
        """Change to the working directory; returns the file's path, and the directory.

        Raises:
            ConfigError: there is no such directory.
        """
        from rr_py_ws.config import resolve_workdir

        return resolve_workdir(self.config, self.workdir or None)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a flag that was given: one after the command wins over one before it, overrides add up."""
    flags = ctx.ensure_object(Flags)
    name = param.name or ""
    # click calls this once for the program and once for its command, with the flags of each.
    if name == "overrides":
        flags.overrides += value
    # A flag that was not given comes here, too, with its default; it must not undo the other one.
    elif value:
        setattr(flags, name, value)


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"rr-py-ws version {__version__}")
        ctx.exit()


def _global_flags() -> list[click.Option]:
    def option(*names: str, text: str, **more: Any) -> click.Option:
        return click.Option(names, help=text, expose_value=False, callback=_keep, **more)

    return [
        option("-c", "--config", metavar="FILE", text="The configuration file. [default: .rr.yaml]"),
        option(
            "-w", "--WorkDir", "workdir", metavar="DIR", text="Change to this directory before anything else."
        ),
        option("--dotenv", metavar="FILE", text="Read environment variables from a file."),
        option(
            "-o",
            "--override",
            "overrides",
            metavar="KEY=VALUE",
            multiple=True,
            text="Replace a value of the file, e.g. -o rpc.listen=tcp://:6001. Repeatable.",
        ),
        option(
            "-d",
            "--debug",
            is_flag=True,
            text="Log level debug, asyncio's debug mode, details of unexpected errors."
            " (RoadRunner's profiler on :6061 has no counterpart.)",
        ),
        option("-s", "--silent", is_flag=True, text="serve, stop, reset, publish: say nothing but errors."),
        option("-p", "--pid", is_flag=True, text="serve: keep the process id in the file .pid."),
        option("-f", "--force", is_flag=True, text="stop: do not let the server finish its work."),
        click.Option(
            ["-v", "--version"],
            help="Print the version.",
            is_flag=True,
            # Before any other flag, of which one may be wrong.
            is_eager=True,
            expose_value=False,
            callback=_show_version,
        ),
    ]


class Command(click.Command):
    """A command that takes the global flags too; its help has examples, its own flags, the global flags."""

    def __init__(
        self,
        name: str | None = None,
        *,
        params: list[click.Parameter] | None = None,
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.own_params = params or []
        self.examples = examples
        settings = {"help_option_names": ["-h", "--help"]}
        super().__init__(
            name,
            params=[*self.own_params, *_global_flags()],
            context_settings=settings,
            options_metavar="[FLAGS]",
            **kwargs,
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, the command's own options, then the global ones."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {example}\n")
        # get_params() adds click's own --help, which belongs to the global ones.
        inherited = [param for param in self.get_params(ctx) if param not in self.own_params]
        for title, params in (("Flags", self.own_params), ("Global flags", inherited)):
            records = [record for param in params if (record := param.get_help_record(ctx))]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Group(Command, click.Group):
    """The program itself."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the flags."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)
