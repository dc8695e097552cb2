"""What others published on the five folds of DFEW and MAFW (11 classes), and where it was seen.

UAR and WAR in percent, the mean of the five folds of the official protocol unless a fold is named.
Methods differ in the data of their pre-training, in size, and in whether an epoch was chosen on the
test part, of which few of them speak.
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
        Published("DFER-CLIP 2023", "V, 153 M", 59.61, 71.25, "the authors"),
        Published(*_MAE, 63.41, 74.43, "the authors"),
        Published("HiCMAE-B 2024", "AV, 81 M", 63.76, 75.01, "the authors"),
        Published("S2D 2024", "V, 9 M trained", 61.82, 76.03, "the authors"),
        Published("Emotion-LLaMA 2024", "AV, 7 B, fine-tuned", 64.21, 77.06, "the authors"),
        Published("FineCLIPER 2024", "V, text, 20 M trained", 65.98, 76.21, "the list SurveyFER"),
        Published("UniLearn (S4D) 2024", "V, 101 M", 66.80, 76.68, "the authors"),
        Published(*_MMA, 67.01, 77.51, f"the list SurveyFER; {_TWO_SETS}"),
        Published(*_MMA, 66.85, 77.43, f"HumanOmni's and AVF-MAE++'s repositories; {_TWO_SETS}"),
        Published("AVF-MAE++ huge 2025", "AV, 521 M", 66.88, 77.45, "the authors"),
        Published(
            *("CLAIP-Emo 2025", "AV, CLIP and CLAP, 8 M trained", None, 80.14),
            "its abstract; two segments by two crops at test and mixup, so not like for like",
        ),
        Published(*_MMA_AGAIN, 63.63, 73.99, "notes of DEFR-UOT", 1),
        Published(*_MAE, 62.59, 74.88, "the authors", 1),
        Published(*_MAE, 61.96, 72.49, "the authors", 2),
        Published(*_MAE, 64.00, 74.91, "the authors", 3),
        Published(*_MAE, 63.07, 74.05, "the authors", 4),
        Published(*_MAE, 65.42, 75.81, "the authors", 5),
    ),
    "mafw": (
        Published("DFER-CLIP 2023", "V, 153 M", 39.89, 52.55, "the authors"),
        Published(*_MAE, 41.62, 54.31, "the authors"),
        Published("HiCMAE-B 2024", "AV, 81 M", 42.65, 56.17, "the authors"),
        Published("S2D 2024", "V, 9 M trained", 41.86, 57.37, "the authors"),
        Published("FineCLIPER 2024", "V, text, 20 M trained", 45.01, 56.91, "the list SurveyFER"),
        Published("UniLearn (S4D) 2024", "V, 101 M", 43.72, 58.44, "the authors"),
        Published(*_MMA, 44.11, 58.52, f"the list SurveyFER; {_TWO_SETS}"),
        Published(*_MMA, 44.25, 58.45, f"HumanOmni's and AVF-MAE++'s repositories; {_TWO_SETS}"),
        Published(*_MMA_AGAIN, 43.86, 58.31, "notes of DEFR-UOT"),
        Published("AVF-MAE++ huge 2025", "AV, 521 M", 46.05, 60.24, "the authors' five logs"),
        Published(
            *("CLAIP-Emo 2025", "AV, CLIP and CLAP, 8 M trained", None, 61.18),
            "its abstract; two segments by two crops at test and mixup, so not like for like",
        ),
        Published(*_MMA_AGAIN, 37.12, None, "notes of DEFR-UOT", 1),
        Published(*_MMA_AGAIN, 48.81, None, "notes of DEFR-UOT", 3),
        Published(*_MAE, 46.08, 59.25, "the authors' log", 3),
    ),
}
_FOLDS, _CLASSES = 5, {"dfew": 7, "mafw": 11}


def published_on(dataset: str, folds: int, classes: int) -> tuple[Published, ...]:
    """Others' figures on a dataset; none where it has another protocol."""
    same = folds == _FOLDS and classes == _CLASSES.get(dataset)
    return PUBLISHED[dataset] if same else ()
