"""Draws a contact sheet: `python -m data_prep.synthetic --contact_sheet=sheet.jpg`."""

from pathlib import Path

from absl import app, flags

from data_prep.synthetic.sheet import contact_sheet
from mmadfer_jax.errors import exit_on_user_error

_CONTACT_SHEET = flags.DEFINE_string(
    "contact_sheet", None, "Picture to write, .jpg or .png.", required=True
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the first person.", lower_bound=0)
_COLUMNS = flags.DEFINE_integer("columns", 2, "Clips of each class.", lower_bound=1)


@exit_on_user_error
def main(argv: list[str]) -> None:
    """Writes the sheet."""
    del argv
    path = Path(_CONTACT_SHEET.value)
    print(contact_sheet(path, seed=_SEED.value, columns=_COLUMNS.value))


if __name__ == "__main__":
    app.run(main)
