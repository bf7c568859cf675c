"""One rule for the images of a folder."""

import os

import pytest

from mmsamdistill.images import find_images
from mmsamdistill.images.finding import sample_path


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_suffixes_in_any_case_in_sub_folders_in_one_order(tmp_path):
    touch(tmp_path, 'b/1.PNG', 'b/2.Png', 'a.jpeg', 'c.WebP', 'd.tIFf', 'e.bmp', 'f.ppm', 'g.h.tif')
    found = find_images(tmp_path)
    assert list(found.files) == ['a', 'b/1', 'b/2', 'c', 'd', 'e', 'f', 'g.h']
    assert found.files['b/2'] == tmp_path / 'b/2.Png'
    assert found.skipped == {}
    assert found.remark() == ''


def test_what_is_not_taken_is_counted(tmp_path):
    touch(tmp_path, 'a.png', '.a.png', 'x/b.heic', 'c.HEIC', 'd.gif', 'README', '.git/e.png')
    found = find_images(tmp_path)
    assert list(found.files) == ['a']
    assert {path.relative_to(tmp_path).as_posix() for path in found.skipped} == {
        '.a.png',
        'x/b.heic',
        'c.HEIC',
        'd.gif',
        'README',
        '.git',
    }
    assert found.remark() == 'skipped 6 files (2 hidden, 2 .heic, 1 without suffix, 1 .gif)'


def test_linked_folders_are_followed_and_loops_end(tmp_path):
    touch(tmp_path / 'elsewhere', '1.png')
    touch(tmp_path / 'images', '0.png', 'sub/2.png')
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'images/linked')
    os.symlink(tmp_path / 'elsewhere/1.png', tmp_path / 'images/file.png')
    os.symlink(tmp_path / 'images', tmp_path / 'images/sub/loop')
    os.symlink(tmp_path / 'images', tmp_path / 'elsewhere/back')
    found = find_images(tmp_path / 'images')
    assert list(found.files) == ['0', 'file', 'linked/1', 'sub/2']
    assert found.remark() == 'skipped 2 files (2 link to a folder around it)'


def test_a_broken_link_is_an_image_that_fails_by_name_when_it_is_read(tmp_path):
    for name, target in (('a', 'gone'), ('b', 'b'), ('c', 'd'), ('d', 'c')):  # circles, too
        os.symlink(f'{target}.png', tmp_path / f'{name}.png')
    assert list(find_images(tmp_path).files) == ['a', 'b', 'c', 'd']


def test_what_never_ends_is_no_image(tmp_path):
    touch(tmp_path, 'a.png')
    os.mkfifo(tmp_path / 'pipe.png')
    os.symlink('/dev/zero', tmp_path / 'zero.png')
    assert find_images(tmp_path).remark() == 'skipped 2 files (2 pipe or device)'


def test_names_that_differ_in_the_suffix_only_are_refused(tmp_path):
    touch(tmp_path, 'b/a.png', 'b/a.jpg')
    with pytest.raises(ValueError, match=r'a\.jpg and .*a\.png have the same name'):
        find_images(tmp_path)


def test_no_images_is_an_error_that_says_what_was_there(tmp_path):
    touch(tmp_path, 'a.heic')
    with pytest.raises(FileNotFoundError, match=r'holds no image .*skipped 1 file \(1 \.heic\)'):
        find_images(tmp_path)
    with pytest.raises(FileNotFoundError, match='none'):
        find_images(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match='give the folder'):
        find_images(tmp_path / 'a.heic')


def test_path_of_a_sample():
    assert sample_path({'img_path': 'a.png'}) == 'a.png'
    assert sample_path({'gt_path': ['b/0.png', 'b/1.png']}) == 'b/0.png'
    # Several rains over one photograph are several images.
    assert sample_path({'gt_path': 'a.png', 'img_path': 'a_rain_1.png'}) == 'a_rain_1.png'
    assert sample_path({'gt_path': [], 'other': 1}) == ''
