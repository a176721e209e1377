//! JSON as bytes: checked, taken apart and put together without building trees.
