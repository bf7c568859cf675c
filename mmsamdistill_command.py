"""The command `mmsamdistill TOOL ...`: the tools that the package carries, from any folder.

And the arguments that tools have in common. It lies beside the package, not in it: importing
anything of the package costs torch, and a list of tools or a tool's help should not.
"""

import argparse
import ast
import importlib.util
import os
import sys
from importlib.metadata import version
from pathlib import Path


def find_tools() -> dict[str, Path]:
    """Return the packaged tools by name; an editable install links to the repository's."""
    package = importlib.util.find_spec('mmsamdistill').submodule_search_locations[0]
    folder = Path(package, '.mim', 'tools')
    tools = {path.stem: path for path in sorted(folder.glob('*.py'))}
    if not tools:
        raise SystemExit(f'mmsamdistill: no tools in {folder}; install again: pip install .')
    return tools


def choose(wanted: str, tools: dict[str, Path]) -> Path:
    """Return the one tool that is called so, or whose name begins so."""
    name = wanted.replace('-', '_')
    matches = [name] if name in tools else [tool for tool in tools if tool.startswith(name)]
    if len(matches) != 1:
        problem = f'{wanted!r} may be {" or ".join(matches)}' if matches else f'no tool {wanted!r}'
        raise SystemExit(f'mmsamdistill: {problem}. There are: {", ".join(tools)}')
    return tools[matches[0]]


def describe(tools: dict[str, Path]) -> str:
    """Return the help: one line a tool, the first of its file."""
    width = max(map(len, tools))
    lines = ['usage: mmsamdistill TOOL [ARGUMENT ...]', '', 'tools (any unique beginning will do):']
    for name, path in tools.items():
        summary = ast.get_docstring(ast.parse(path.read_bytes())) or ''
        lines.append(f'  {name:{width}}  {summary.partition(chr(10))[0]}')
    return '\n'.join([*lines, '', '`mmsamdistill TOOL --help` tells what each one takes.'])


def add_config_options(
    parser: argparse.ArgumentParser, what: str = 'override settings of the config'
) -> None:
    """Let a tool take `--cfg-options` and `--debug`, as its last arguments."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help=f'{what}: key=value, nested keys joined by dots',
    )
    add_debug(parser)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Let a tool take `--debug`, which `mmsamdistill.command_line.run` reads."""
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')


def add_device(parser: argparse._ActionsContainer) -> None:
    """Let a tool take `--device`."""
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; default: CUDA if there is any')


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Let a tool that measures take the size of the image it measures with."""
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(128, 128),
        metavar=('H', 'W'),
        help='pixels of the image, default: 128 128',
    )


def add_local(parser: argparse.ArgumentParser) -> None:
    """Let a tool that deploys say over what a network pools and normalises."""
    parser.add_argument(
        '--local',
        type=int,
        metavar='PIXELS',
        help='statistics of windows of so many pixels (TLC); default: as the config says; 0: none',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Let a tool take what launchers of distributed runs give it; `--local_rank` is theirs."""
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='launcher'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def main() -> None:
    """Become the tool's own process: what holds for `python tools/TOOL.py` holds here."""
    arguments = sys.argv[1:]
    if arguments == ['--version']:
        print('mmsamdistill', version('mmsamdistill'))
        return
    tools = find_tools()
    if not arguments or arguments[0] in ('-h', '--help'):
        print(describe(tools))
        return
    path = choose(arguments[0], tools)
    os.execv(sys.executable, [sys.executable, str(path), *arguments[1:]])


if __name__ == '__main__':
    main()
