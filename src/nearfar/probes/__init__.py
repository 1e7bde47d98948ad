"""What embeddings are judged by: numpy and scikit-learn, no training in here."""

from nearfar.probes._classifiers import few_label_probe, knn, linear_probe, neighbours_for
from nearfar.probes._labelled import Labelled, held_out
from nearfar.probes._nodes import NodeSplits, random_splits
from nearfar.probes._reads import ReadProbe
from nearfar.probes._retrieval import Retrieval
from nearfar.probes._scores import Embed, Probe, Scores, Vectors

__all__ = [
    "Embed",
    "Labelled",
    "NodeSplits",
    "Probe",
    "ReadProbe",
    "Retrieval",
    "Scores",
    "Vectors",
    "few_label_probe",
    "held_out",
    "knn",
    "linear_probe",
    "neighbours_for",
    "random_splits",
]
