//! Causes of a verdict as text.

use crate::mesh::verdict::Cause;

/// Joins causes that explain a verdict equally well: `node or ingress`.
pub fn join_causes(causes: &[Cause]) -> String {
    let words: Vec<_> = causes.iter().map(|cause| cause.as_str()).collect();
    words.join(" or ")
}

/// Returns the end of a sentence that names the causes, `, cause: node or ingress`, or an empty text for no cause.
pub fn cause_clause(causes: &[Cause]) -> String {
    if causes.is_empty() { String::new() } else { format!(", cause: {}", join_causes(causes)) }
}
