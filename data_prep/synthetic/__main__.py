"""Renders one clip or a contact sheet: `python -m data_prep.synthetic --clip=a.mp4`."""

import argparse
from pathlib import Path

from data_prep.synthetic import CLASSES, PAIR, contact_sheet, render_clip
from mmadfer_jax.errors import exit_on_user_error


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.synthetic", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--clip", type=Path, metavar="FILE", help="mp4 file to write")
    what.add_argument("--contact_sheet", type=Path, metavar="FILE", help="jpg or png to write")
    parser.add_argument("--label", choices=CLASSES + PAIR, default=CLASSES[0], help="of the clip")
    parser.add_argument("--take", type=int, default=0, help="0 or 1, of a class of the pair")
    parser.add_argument("--columns", type=int, default=2, help="clips of a class on the sheet")
    parser.add_argument("--seed", type=int, default=0, help="of the person")
    flags = parser.parse_args()
    if flags.seed < 0 or flags.columns < 1:
        parser.error("--seed must be 0 or more, --columns 1 or more")
    if flags.clip:
        label = (CLASSES + PAIR).index(flags.label)
        print(f"wrote {render_clip(label, flags.seed, flags.clip, flags.take)}")
    else:
        print(f"wrote {contact_sheet(flags.contact_sheet, seed=flags.seed, columns=flags.columns)}")


if __name__ == "__main__":
    main()
