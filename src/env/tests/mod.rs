//! What the doors to the world promise.
