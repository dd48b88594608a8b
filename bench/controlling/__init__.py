"""The parts of bench/control."""
