"""Taking pictures: what was asked, and the exposure as a state machine; knows no INDI."""
