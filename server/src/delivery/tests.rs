//! The room as a whole over a real store and a real database.
