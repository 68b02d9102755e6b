//! For tests and the demo: a seeded generator with a truth key, and helpers that start real servers
