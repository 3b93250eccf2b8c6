"""Networks of the kinds that users bring, small: each with open dimensions, sizes to plan at and sizes to run at."""

from tests.graph_io.corpus.case import Case
from tests.graph_io.corpus.detection import DETECTION
from tests.graph_io.corpus.quantised import QUANTISED
from tests.graph_io.corpus.sequences import SEQUENCES
from tests.graph_io.corpus.vision import VISION

CASES: dict[str, Case] = {case.name: case for case in (*SEQUENCES, *VISION, *DETECTION, *QUANTISED)}
