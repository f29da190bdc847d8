"""Taking pictures: what was asked, the exposure as a state machine, finished frames; knows no INDI."""
