"""What embeddings are judged by: numpy and scikit-learn, no training in here."""

from nearfar.probes._bitext import BitextProbe, Triples, best_threshold, mining, thirds
from nearfar.probes._bitext_margin import Margin
from nearfar.probes._classifiers import few_label_probe, knn, linear_probe, neighbours_for
from nearfar.probes._crossmodal import CrossModal
from nearfar.probes._crossmodal_cca import SharedDirections
from nearfar.probes._crossmodal_shortcuts import Shortcuts, shortcuts
from nearfar.probes._fidelity import FidelityProbe, frechet_distance, precision_recall
from nearfar.probes._labelled import Labelled, held_out
from nearfar.probes._matches import KnownPair
from nearfar.probes._modes import ModeProbe, Sampler, nearest_centre, stacked_classifier
from nearfar.probes._nodes import NodeSplits, random_splits
from nearfar.probes._pixel_clips import Clip, Flow, embedded
from nearfar.probes._pixels import PixelProbe
from nearfar.probes._propagation import Propagation, contour, region
from nearfar.probes._reads import ReadProbe
from nearfar.probes._retrieval import Retrieval
from nearfar.probes._scores import Embed, Probe, Scores, Vectors
from nearfar.probes._tracks import Track, Tracker

__all__ = [
    "BitextProbe",
    "Clip",
    "CrossModal",
    "Embed",
    "FidelityProbe",
    "Flow",
    "KnownPair",
    "Labelled",
    "Margin",
    "ModeProbe",
    "NodeSplits",
    "PixelProbe",
    "Probe",
    "Propagation",
    "ReadProbe",
    "Retrieval",
    "Sampler",
    "Scores",
    "SharedDirections",
    "Shortcuts",
    "Track",
    "Tracker",
    "Triples",
    "Vectors",
    "best_threshold",
    "contour",
    "embedded",
    "few_label_probe",
    "frechet_distance",
    "held_out",
    "knn",
    "linear_probe",
    "mining",
    "nearest_centre",
    "neighbours_for",
    "precision_recall",
    "random_splits",
    "region",
    "shortcuts",
    "stacked_classifier",
    "thirds",
]
