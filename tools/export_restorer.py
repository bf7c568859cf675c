"""Export the student of a distilled checkpoint as a plain restorer's."""

from __future__ import annotations

import argparse


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the checkpoint, distilled or plain')
    parser.add_argument('checkpoint', help='weights in any dialect')
    parser.add_argument('out', help='file to write; folders are made')
    parser.add_argument(
        '--format', default='mmagic', help='mmagic (default), safetensors or torchscript'
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='load both checkpoints and compare outputs bit for bit, parameters and FLOPs',
    )
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='take averaged weights if the checkpoint has any (default), or the raw ones',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help='override settings of the config: key=value, nested keys joined by dots',
    )
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.command_line import read_config, run
from mmsamdistill.deploy.cost import count_parameters
from mmsamdistill.deploy.export import (
    build_model,
    export_checkpoint,
    plain_config,
    verify_export,
)


def main() -> None:
    """Export, verify if asked to."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    path = export_checkpoint(cfg, args.checkpoint, args.out, args.format, args.ema)
    parameters = count_parameters(build_model(plain_config(cfg)))
    size = path.stat().st_size / 2**20
    print(f'written: {path} ({args.format}, {parameters:,} parameters, {size:.2f} MiB)')
    if args.verify and args.format == 'torchscript':
        print('verified: the graph gave the outputs of the network for images of four sizes')
    elif args.verify:
        proof = verify_export(cfg, args.checkpoint, path, args.ema)
        print(
            f'verified: outputs bit-identical for {proof["images"]} images; '
            f'{proof["parameters"]:,} parameters and {proof["flops"]:,} FLOPs (64x64) on both '
            'sides'
        )


if __name__ == '__main__':
    run(main)
