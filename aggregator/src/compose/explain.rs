//! What a composition does, drawn: who waits for whom, and how long it may take.
