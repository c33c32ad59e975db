"""What is true of the whole database at every moment, for what tries to make it untrue."""

from persistence.invariants import INVARIANTS as INVARIANTS
from persistence.invariants import violated as violated
