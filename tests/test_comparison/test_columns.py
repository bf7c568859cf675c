import shutil

import numpy as np
import pytest
from toy_pictures import KEYS, folders, make_folders, read_rgb, write_picture

from mmsamdistill.comparison import find_columns


@pytest.fixture
def root(tmp_path):
    return make_folders(tmp_path)


def test_images_are_matched_below_the_folders_whatever_their_suffix(root):
    picture = read_rgb(root / 'a/ox.png')
    (root / 'a/ox.png').unlink()
    write_picture(root / 'a/ox.bmp', picture)
    columns = find_columns(folders(root))
    assert columns.keys == KEYS
    assert columns.files['a']['ox'] == root / 'a/ox.bmp'
    pictures = columns.read('ox')
    assert list(pictures) == ['degraded', 'a', 'b', 'truth']
    assert all((pictures[name] == read_rgb(columns.files[name]['ox'])).all() for name in pictures)


def test_the_truth_is_last_and_images_keep_the_order_they_were_named_in(root):
    columns = find_columns(folders(root, 'truth', 'b', 'a'), ['ox', 'cat'])
    assert columns.names == ['b', 'a', 'truth']
    assert columns.keys == ('ox', 'cat')


@pytest.mark.parametrize(
    ('names', 'pair'),
    [
        (('degraded', 'a', 'b', 'truth'), ('a', 'b')),
        (('a', 'degraded', 'truth'), ('degraded', 'a')),
        (('a', 'b', 'c', 'truth'), ('a', 'c')),
        (('a', 'truth'), None),
        (('degraded', 'truth'), None),
    ],
)
def test_gains_are_those_of_the_last_model_over_the_first(root, names, pair):
    shutil.copytree(root / 'b', root / 'c')
    assert find_columns(folders(root, *names)).pair == pair


def test_an_image_without_partner_is_named_in_both_directions(root):
    (root / 'b/night/dog.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'truth/night/dog\.png has no partner.*1 of 3'):
        find_columns(folders(root))
    assert find_columns(folders(root), ['ox']).keys == ('ox',)
    (root / 'truth/night/dog.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'degraded/night/dog\.png of .* has no partner'):
        find_columns(folders(root))


def test_unknown_names_say_what_a_name_looks_like(root):
    with pytest.raises(KeyError, match=r"no image 'dog'.*such as 'cat'"):
        find_columns(folders(root), ['dog'])


def test_two_files_of_one_name_are_an_error_but_hidden_ones_are_none(root):
    write_picture(root / 'a/.cat.png', read_rgb(root / 'a/cat.png'))
    assert find_columns(folders(root)).keys == KEYS
    write_picture(root / 'a/cat.bmp', read_rgb(root / 'a/cat.png'))
    with pytest.raises(ValueError, match=r'cat\.bmp and .*cat\.png have the same name'):
        find_columns(folders(root))


def test_empty_missing_and_mistaken_folders_are_named(root):
    (root / 'empty').mkdir()
    for folder, message in (('empty', 'holds no image'), ('none', 'none does not exist')):
        with pytest.raises(FileNotFoundError, match=message):
            find_columns({'a': root / folder, 'truth': root / 'truth'})
    with pytest.raises(FileNotFoundError, match='give the folder'):
        find_columns({'a': root / 'a/cat.png', 'truth': root / 'truth'})
    with pytest.raises(KeyError, match="'truth' and at least one other"):
        find_columns({'truth': root / 'truth'})


def test_another_size_names_both_files(root):
    write_picture(root / 'b/cat.png', np.zeros((40, 48, 3), np.uint8))
    with pytest.raises(ValueError, match=r'b/cat\.png has 48 x 40 .*truth/cat\.png has 50 x 40'):
        find_columns(folders(root)).read('cat')


@pytest.mark.parametrize('cut', [0, 200])
def test_damaged_files_are_named_not_half_read(root, cut):
    path = root / 'b/cat.png'
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r'b/cat\.png.*: make or copy this file anew'):
        find_columns(folders(root)).read('cat')
