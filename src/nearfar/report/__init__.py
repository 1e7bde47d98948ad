"""One page a run, which opens offline."""
from typing import Any
def take_snapshot(*a: Any) -> None: return None
def write_report(*a: Any) -> None: return None
