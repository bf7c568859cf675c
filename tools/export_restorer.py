"""Export the student of a distilled checkpoint as a plain restorer's."""

import argparse
import json

from mmsamdistill_command import add_config_options, add_local


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the checkpoint, distilled or plain')
    parser.add_argument('checkpoint', help='weights in any dialect')
    parser.add_argument('out', help='file to write; its suffix tells the format; folders are made')
    parser.add_argument(
        '--format',
        help='mmagic, safetensors, spandrel or onnx; default: by the suffix, .pth for mmagic, '
        '.safetensors and .onnx',
    )
    parser.add_argument(
        '--verify',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='prove before writing that the file gives the outputs of the checkpoint (default)',
    )
    parser.add_argument('--report', help="the .json of tools/test.py --out, for the file's card")
    add_local(parser)
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='take averaged weights if the checkpoint has any (default), or the raw ones',
    )
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':  # before anything heavy is imported, so that help costs nothing
    parse_args()

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.command_line import check_output, read_config, run
from mmsamdistill.deploy.export import card_path, export_checkpoint
from mmsamdistill.deploy.settings import set_local_window


def main() -> None:
    """Export, and say what was written and proved."""
    args = parse_args()
    check_output('OUT', args.out)
    cfg = read_config(args.config, args.cfg_options)
    set_local_window(cfg, args.local)
    path = export_checkpoint(
        cfg, args.checkpoint, args.out, args.format, args.ema, args.verify, args.report
    )
    card = json.loads(card_path(path).read_text())
    size = path.stat().st_size / 2**20
    print(
        f'written: {path} ({card["format"]}, {card["parameters"]:,} parameters, {size:.2f} MiB, '
        f'statistics: {card["statistics"]}), card: {card_path(path)}'
    )
    proof = card['verified']
    if proof:
        largest = proof['difference']
        how = f'differ by at most {largest:.2g}' if proof['tolerance'] else 'bit-identical'
        print(
            f'verified: outputs {how} for {proof["images"]} images; {proof["parameters"]:,} '
            f'parameters and {proof["flops"]:,} FLOPs (64x64)'
        )


if __name__ == '__main__':
    run(main)
