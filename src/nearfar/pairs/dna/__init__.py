"""DNA reads: letters, files, sequencing errors, and what two reads must share to be a pair."""

from nearfar.pairs.dna._bases import decode, encode, flip_strands, reverse_complement
from nearfar.pairs.dna._files import Record, find_read_files, records
from nearfar.pairs.dna._kmers import canonical_kmers, kmer_profile
from nearfar.pairs.dna._read_pairs import ReadPairs
from nearfar.pairs.dna._reader import ReadReader
from nearfar.pairs.dna._reads import Positives, Reads
from nearfar.pairs.dna._sequences import Sequences, canonical_ids
from nearfar.pairs.dna._stream import Part, find_mates, stream_parts
from nearfar.pairs.dna._views import Errors, ReadViews, insert_and_delete, rising, substitute

__all__ = [
    "Errors",
    "Part",
    "Positives",
    "ReadPairs",
    "ReadReader",
    "ReadViews",
    "Reads",
    "Record",
    "Sequences",
    "canonical_ids",
    "canonical_kmers",
    "decode",
    "encode",
    "find_mates",
    "find_read_files",
    "flip_strands",
    "insert_and_delete",
    "kmer_profile",
    "records",
    "reverse_complement",
    "rising",
    "stream_parts",
    "substitute",
]
