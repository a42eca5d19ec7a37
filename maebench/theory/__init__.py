"""What the source papers derive, as pure functions that can be tested against what training finds."""
