"""What belongs together: reading data, drawing pairs of views, and the order of batches."""

from nearfar.pairs._folder import ImageFolder, find_images
from nearfar.pairs._image_reader import ImageReader
from nearfar.pairs._order import batch_rows, seeded
from nearfar.pairs._pairs import Batch, LearningPairs, LonePairs, Pairs, Side
from nearfar.pairs._picture_pairs import PicturePairs
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs._views import crooked_views, simclr_views
from nearfar.pairs._walk import printable

__all__ = [
    "Batch",
    "ImageFolder",
    "ImageReader",
    "Inputs",
    "LearningPairs",
    "LonePairs",
    "Pairs",
    "PicturePairs",
    "Reader",
    "Side",
    "batch_rows",
    "crooked_views",
    "find_images",
    "printable",
    "seeded",
    "simclr_views",
]
