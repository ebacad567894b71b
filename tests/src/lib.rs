//! Harness of the integration tests: starts the real server in a place of its own.
