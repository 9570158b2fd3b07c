//! What the program does beside running a node.

pub mod explain;
pub mod journal;

/// An error and its causes, without those that it has told already.
pub fn words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        _ if told.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("the disk is full").context("lake ./lake");
        assert_eq!(words(&error), "lake ./lake: the disk is full");
        let told = error.context("no answer, the disk is full");
        assert_eq!(words(&told), "no answer, the disk is full: lake ./lake");
    }
}
