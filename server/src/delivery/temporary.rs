//! Client-side temporary names: names that an upload wears until the client renames it. Knows no file.

/// Patterns of temporary names; `*` stands for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryNames(Vec<String>);

impl Default for TemporaryNames {
    fn default() -> Self {
        Self(["*.filepart", "*.part", "*.partial", "*.tmp", ".in.*"].map(str::to_owned).into())
    }
}

impl TemporaryNames {
    /// These patterns instead of the default ones.
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// True when a file of that name is not delivered yet. ASCII case does not matter.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.0.iter().any(|pattern| wild(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()))
    }
}

/// Glob with `*` only: greedy with one step back, so that no pattern costs more than pattern times name.
fn wild(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, n));
            p += 1;
        } else if pattern.get(p) == name.get(n) {
            p += 1;
            n += 1;
        } else if let Some((star, at)) = back {
            back = Some((star, at + 1));
            p = star + 1;
            n = at + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let names = TemporaryNames::default();
        for (name, temporary) in [
            ("photo.jpg", false),
            ("photo.jpg.filepart", true),
            ("photo.jpg.1a2b3c4d.partial", true),
            ("photo.jpg.PART", true),
            ("upload.tmp", true),
            (".in.photo.jpg.", true),
            (".in.", true),
            ("part", false),
            ("photo.part.jpg", false),
            ("tmp", false),
            ("", false),
        ] {
            assert_eq!(names.matches(name), temporary, "{name}");
        }
        assert!(TemporaryNames::new(vec!["a*b*c".to_owned()]).matches("a-b-b-c"));
        assert!(!TemporaryNames::new(vec!["a*b*c".to_owned()]).matches("a-b-b-cd"));
        assert!(!TemporaryNames::new(Vec::new()).matches("x.tmp"));
    }
}
