//! One table test per rule.
