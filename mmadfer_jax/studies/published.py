"""What others published on the five folds of DFEW and MAFW (11 classes), and where it was seen.

UAR and WAR in percent, the mean of the five folds of the official protocol unless a fold is named.
Methods differ in data of pre-training, size, and in whether an epoch was chosen on the test part, of
which few of them speak.
"""

from typing import NamedTuple

_TWO_SETS = "two sets of figures of this paper circulate"


class Published(NamedTuple):
    """A method's figures on a dataset.

    Attributes:
        method: Its name and year.
        kind: "AV" sees and hears, "V" sees; and its size.
        uar: In percent; None where it is not given.
        war: In percent; None where it is not given.
        source: Where the figures were seen.
        fold: Of which they are; None for the mean of all.
    """

    method: str
    kind: str
    uar: float | None
    war: float | None
    source: str
    fold: int | None = None


_MMA = ("MMA-DFER 2024", "AV, two frozen ViT-B, 7.6 M trained")
_MMA_AGAIN = ("MMA-DFER 2024, released weights re-run by others", _MMA[1])
_MAE = ("MAE-DFER 2023", "V, 85 M")

PUBLISHED = {
    "dfew": (
        Published("DFER-CLIP 2023", "V, 153 M", 59.61, 71.25, "its repository"),
        Published(*_MAE, 63.41, 74.43, "its repository"),
        Published("HiCMAE-B 2024", "AV, 81 M", 63.76, 75.01, "its paper"),
        Published("S2D 2024", "V, 9 M trained", 61.82, 76.03, "its repository"),
        Published("Emotion-LLaMA 2024", "AV, 7 B, fine-tuned", 64.21, 77.06, "its repository"),
        Published(
            "FineCLIPER 2024", "V and text, 20 M trained", 65.98, 76.21, "the list SurveyFER"
        ),
        Published("UniLearn (S4D) 2024", "V, 101 M", 66.80, 76.68, "its repository"),
        Published(*_MMA, 67.01, 77.51, f"the list SurveyFER; {_TWO_SETS}"),
        Published(*_MMA, 66.85, 77.43, f"HumanOmni's and AVF-MAE++'s repositories; {_TWO_SETS}"),
        Published("AVF-MAE++ huge 2025", "AV, 521 M", 66.88, 77.45, "its repository"),
        Published(
            *("CLAIP-Emo 2025", "AV, CLIP and CLAP, 8 M trained", None, 80.14),
            "its abstract; two segments by two crops at test and mixup, so not like for like",
        ),
        Published(*_MMA_AGAIN, 63.63, 73.99, "notes of DEFR-UOT", 1),
        Published(*_MAE, 62.59, 74.88, "its repository", 1),
        Published(*_MAE, 61.96, 72.49, "its repository", 2),
        Published(*_MAE, 64.00, 74.91, "its repository", 3),
        Published(*_MAE, 63.07, 74.05, "its repository", 4),
        Published(*_MAE, 65.42, 75.81, "its repository", 5),
    ),
    "mafw": (
        Published("DFER-CLIP 2023", "V, 153 M", 39.89, 52.55, "its repository"),
        Published(*_MAE, 41.62, 54.31, "its repository"),
        Published("HiCMAE-B 2024", "AV, 81 M", 42.65, 56.17, "its paper"),
        Published("S2D 2024", "V, 9 M trained", 41.86, 57.37, "its repository"),
        Published(
            "FineCLIPER 2024", "V and text, 20 M trained", 45.01, 56.91, "the list SurveyFER"
        ),
        Published("UniLearn (S4D) 2024", "V, 101 M", 43.72, 58.44, "its repository"),
        Published(*_MMA, 44.11, 58.52, f"the list SurveyFER; {_TWO_SETS}"),
        Published(*_MMA, 44.25, 58.45, f"HumanOmni's and AVF-MAE++'s repositories; {_TWO_SETS}"),
        Published(*_MMA_AGAIN, 43.86, 58.31, "notes of DEFR-UOT"),
        Published("AVF-MAE++ huge 2025", "AV, 521 M", 46.05, 60.24, "its five logs, added up anew"),
        Published(
            *("CLAIP-Emo 2025", "AV, CLIP and CLAP, 8 M trained", None, 61.18),
            "its abstract; two segments by two crops at test and mixup, so not like for like",
        ),
        Published(*_MMA_AGAIN, 37.12, None, "notes of DEFR-UOT", 1),
        Published(*_MMA_AGAIN, 48.81, None, "notes of DEFR-UOT", 3),
        Published(*_MAE, 46.08, 59.25, "its repository's log", 3),
    ),
}
CLASSES = {"dfew": 7, "mafw": 11}  # MAFW has a set of compound expressions besides


def published_on(dataset: str, classes: int) -> tuple[Published, ...]:
    """Others' figures on a dataset; none where it is another protocol."""
    return PUBLISHED[dataset] if CLASSES.get(dataset) == classes else ()
