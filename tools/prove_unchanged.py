"""Prove that an exported restorer is the plain one: same keys, cost and speed, same output."""

import argparse

from mmsamdistill_command import add_config_options, add_device, add_shape


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='checkpoint of the training')
    parser.add_argument('exported', help='what tools/export_restorer.py wrote: .pth, .safetensors')
    add_shape(parser)
    parser.add_argument('--repeats', type=int, default=20, help='timed runs of each, default: 20')
    add_device(parser)
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.command_line import read_config, run
from mmsamdistill.deploy.cost import describe_machine
from mmsamdistill.deploy.proof import prove_unchanged
from mmsamdistill.evaluation.report import to_markdown


def main() -> int:
    """Compare, print the table; the exit code is 1 if anything that must be equal is not."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    shape = tuple(args.shape)
    rows, unchanged, device = prove_unchanged(
        cfg, args.checkpoint, args.exported, shape, args.repeats, args.device
    )
    print(f'\n{args.exported}, {shape[0]} x {shape[1]} pixels, median of {args.repeats}')
    print(describe_machine(device) + '\n')
    print(to_markdown(rows))
    print(f'\n{"unchanged" if unchanged else "CHANGED"}: keys, parameters, FLOPs and output')
    return 0 if unchanged else 1


if __name__ == '__main__':
    run(main)
