//! What a server line does, shown once for each.
