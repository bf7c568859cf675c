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
from pathlib import Path

import cv2
import torch

import mmsamdistill  # noqa: F401  (makes MMagic importable)
from mmsamdistill.evaluation import measure
from mmsamdistill.evaluation.report import to_markdown, write_report

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
    parser.add_argument('--sam-checkpoint', help='SAM ViT-B weights; without: superpixel regions')
    parser.add_argument('--vgg-checkpoint', help='VGG-16 weights; without: random features')
    parser.add_argument(
        '--quick', action='store_true', help='a few steps of everything: a check, not a result'
    )
    return parser.parse_args()


def read_tensor(path: Path) -> torch.Tensor:
    """Read an image as an RGB tensor of shape (3, H, W), 0 to 255."""
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)


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

    def run(self) -> None:
        """Run every step, each through the tool that a user would call."""
        self.step(1, 'photographs of scikit-image, noise of sigma 50')
        self.call('demo/prepare_data.py', self.data)
        self.step(2, 'region maps of the training photographs')
        self.extract_regions()
        self.step(3, 'train the plain restorer')
        self.train(PLAIN, 'plain')
        self.step(4, 'train the same restorer with region priors, and distil them away')
        self.train(DISTILLED, 'distilled', *self.analyzer_options())
        self.step(5, 'export the distilled student as a plain checkpoint, and prove it')
        self.export()
        self.step(6, 'test both on the held-out photographs, restore them')
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
        """Compute region maps by SAM if weights were given, else superpixels."""
        source: list[object] = ['--source', 'superpixel']
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
        if not self.args.vgg_checkpoint:
            print('No VGG weights were given: the semantic analyser has random features here.')
            return []
        return [f'model.analyzer.weights={Path(self.args.vgg_checkpoint).resolve()}']

    def train(self, config: Path, name: str, *options: str) -> None:
        """Train, from scratch on every call: the demo shows what training does."""
        if self.args.quick:
            options += ('train_cfg.max_iters=8', 'train_cfg.val_interval=8')
            options += ('param_scheduler.T_max=8', 'default_hooks.logger.interval=2')
        cfg_options = ['--cfg-options', *options] if options else []
        self.call_runner('tools/train.py', config, '--work-dir', name, *cfg_options)

    def checkpoint(self, name: str) -> Path:
        """Path of the newest checkpoint of a run."""
        return Path((self.work_dir / name / 'last_checkpoint').read_text().strip())

    def export(self) -> None:
        """Export the student and verify bit-identical outputs in the plain config."""
        self.call(
            'tools/export_restorer.py',
            DISTILLED,
            self.checkpoint('distilled'),
            'distilled/student.pth',
            '--verify',
        )

    def test_and_restore(self) -> None:
        """Test and restore with the *plain* config: that is what gets deployed."""
        weights = {
            'plain': self.checkpoint('plain'),
            'distilled': self.work_dir / 'distilled/student.pth',
        }
        for name, path in weights.items():
            self.call_runner(
                'tools/test.py', PLAIN, path, '--work-dir', name, '--out', f'{name}/test'
            )
            self.call('tools/restore.py', PLAIN, path, 'data/test/noisy', f'{name}/restored')

    def report(self) -> None:
        """Print the table and draw the figure."""
        rows = [{'model': 'degraded', **self.score_degraded()}]
        rows += [self.read_row(name) for name in ('plain', 'distilled')]
        meta = {
            'protocol': PROTOCOL,
            'regions': 'sam' if self.args.sam_checkpoint else 'superpixels of the truth',
        }
        write_report(self.work_dir / 'demo', rows, meta)
        self.call(
            'tools/compare.py',
            *('--truth', 'data/test/gt', '--column', 'degraded=data/test/noisy'),
            *('--column', 'plain=plain/restored', '--column', 'distilled=distilled/restored'),
            *('--out', 'demo.png'),
        )
        print('\n' + to_markdown(rows))
        print(
            '\nOne seed, a few hundred steps, two test photographs: this shows that everything '
            'works,\nnot that one model is better. For measurements see the README.'
        )
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
        result = json.loads((self.work_dir / name / 'test.json').read_text())['results'][0]
        row = {'model': name, 'PSNR': result['PSNR'], 'SSIM': result['SSIM']}
        return {**row, **self.cost(PLAIN)}

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
