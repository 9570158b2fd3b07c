//! Rules about the tree itself; all of it stands in `tests/`: who may lean on whom, where versions are named, that each
//! folder says what lives in it, that files stay short.
