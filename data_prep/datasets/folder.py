"""Any folder of videos or face frames: with a table of labels, or with a folder a class."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.datasets.label_table import DEFAULT_FOLDS, list_table
from data_prep.datasets.media_tree import Media, find_media, list_folder
from data_prep.listing import Listing, assign_folds, readable, some
from data_prep.names import find_classes, find_splits, split_name
from mmadfer_jax.errors import UserError


def list_clips(
    source: Path,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
    label_base: int | None = None,
) -> Listing:
    """The clips of a folder.

    Args:
        source: The folder.
        labels: A table of labels, see `label_table.list_table`; without one classes are folders,
            see `list_tree`.
        classes: Names in the order of the labels; sorted names if None.
        folds: Number of parts to make where there are no splits, 5 if None.
        label_base: What labels that are numbers count from, with `classes`: 0 or 1.

    Raises:
        UserError: As these two.
    """
    if label_base is not None and not classes:
        raise UserError(
            f"--label_base={label_base} needs --classes: without them numbers are names of classes"
        )
    if labels is None:
        return list_tree(source, classes, folds, label_base)
    return list_table(source, labels, classes, folds, label_base)


def list_tree(
    source: Path,
    classes: Sequence[str] | None = None,
    folds: int | None = None,
    label_base: int | None = None,
) -> Listing:
    """Lists `CLASS/clip.mp4`, or `train/CLASS/clip.mp4` and `test/CLASS/clip.mp4`.

    Instead of a video there may be a folder of face frames. Arguments are as of `list_clips`.

    Raises:
        UserError: No clips, a folder that is no class, or folders of splits that are not above or
            below all of those of the classes.
    """
    found = find_media(source)
    media = found.clips
    depth, split_depth = _levels(source, media)
    named = [item.parts[depth] for item in media]
    kinds = find_classes(named, classes, label_base)
    if unknown := sorted(set(named) - kinds.indices.keys()):
        raise UserError(
            f"--source={source} has folders {some(unknown)}, no class of {', '.join(kinds.names)}; "
            "name all in --classes or move what is not meant"
        )
    labels = {item.name: kinds.indices[name] for item, name in zip(media, named, strict=True)}
    notes = [*kinds.notes, *_empty_folders(source, media, depth), *found.notes]
    if split_depth is None:
        folds = folds or DEFAULT_FOLDS
        parts = assign_folds(labels, {}, folds)
    elif folds:
        raise UserError(f"--folds={folds} has no use, {source} has folders of splits")
    else:
        splits = find_splits(item.parts[split_depth] for item in media)
        parts = {item.name: splits.names[item.parts[split_depth]] for item in media}
        notes += splits.notes
    clips = [item.clip(label=labels[item.name], split=parts[item.name]) for item in media]
    return Listing("folder", kinds.names, clips, notes=tuple(notes), folds=folds)


def _levels(source: Path, media: Sequence[Media]) -> tuple[int, int | None]:
    """At which places of their paths clips have their class and, if anywhere, their split."""
    expected = "a folder a class, CLASS/clip.mp4 or train/CLASS/clip.mp4"
    for depth, split_depth in ((1, 0), (0, 1)):
        named = [len(m.parts) > 2 and split_name(m.parts[split_depth]) is not None for m in media]
        if all(named) and media:
            return depth, split_depth
    loose = [item.name for item in media if len(item.parts) < 2]
    if not media or loose:
        found = f"clips that lie in no such folder: {some(loose)}" if loose else "no clips"
        raise UserError(f"--source={source} without --labels needs {expected}; found {found}")
    tops = dict.fromkeys(item.parts[0] for item in media)
    if splits := [name for name in tops if split_name(name)]:
        others = [name for name in tops if name not in splits]
        besides = f"beside {some(others)}" if others else "with clips in no folder of a class"
        raise UserError(
            f"--source={source} has folders of splits, {some(splits)}, {besides}; expected "
            f"{expected}, or a table (--labels)"
        )
    return 0, None


def _empty_folders(source: Path, media: Sequence[Media], depth: int) -> tuple[str, ...]:
    """Says which folders that stand where those of the classes do hold no clip."""
    used = {item.parts[: depth + 1] for item in media}
    tops = {item.path.parents[len(item.parts) - depth - 1]: item.parts[:depth] for item in media}
    empty = [
        "/".join((*parts, readable(name)))
        for top, parts in sorted(tops.items(), key=lambda pair: pair[1])
        for name, is_folder in list_folder(top)
        if is_folder and not name.startswith((".", "__")) and (*parts, readable(name)) not in used
    ]
    return (f"folders without a clip: {some(empty, 8)}",) if empty else ()
