//! `VirtualPath`: a name parsed once at the border, the only way to name a file behind it.
//! Knows no disk: whether the name exists is the store's matter.

use std::fmt;

/// Longest component, in bytes (Linux NAME_MAX).
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Longest path, in bytes; below PATH_MAX, so that a root in front of it and an owner's name beside it still fit.
pub const MAX_PATH_BYTES: usize = 3_072;
/// Deepest nesting.
pub const MAX_DEPTH_COMPONENTS: usize = 64;

/// Why a text is not a path. The messages are whole sentences' parts fit for a reply, and free of the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Bytes that are not UTF-8.
    #[error("the name is not valid UTF-8")]
    NotUtf8,
    /// A control character.
    #[error("the name has a control character")]
    Control,
    /// A component over [`MAX_COMPONENT_BYTES`].
    #[error("a part of the name is longer than 255 bytes")]
    ComponentTooLong,
    /// A path over [`MAX_PATH_BYTES`].
    #[error("the path is longer than 3072 bytes")]
    TooLong,
    /// More than [`MAX_DEPTH_COMPONENTS`].
    #[error("the path is nested deeper than 64 directories")]
    TooDeep,
    /// No text at all.
    #[error("the name is empty")]
    Empty,
    /// A name that the store keeps for itself.
    #[error("the name is reserved")]
    Reserved,
}

/// An absolute, normal path: components joined by `/`, no `.`, no `..`, no empty part, no control character.
/// `..` above the root stays at the root, as in a chroot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualPath(String);

impl fmt::Debug for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for VirtualPath {
    fn default() -> Self {
        Self::root()
    }
}

impl VirtualPath {
    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Parses an absolute path, or one relative to the root.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Self::root().resolve(text)
    }

    /// Parses what a client sent, seen from this directory.
    ///
    /// # Errors
    /// [`PathError::NotUtf8`] and the others.
    pub fn resolve_bytes(&self, bytes: &[u8]) -> Result<Self, PathError> {
        self.resolve(std::str::from_utf8(bytes).map_err(|_| PathError::NotUtf8)?)
    }

    /// Parses `text`, seen from this directory: absolute if it starts with `/`.
    ///
    /// # Errors
    /// [`PathError`].
    pub fn resolve(&self, text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let mut parts: Vec<&str> = if text.starts_with('/') { Vec::new() } else { self.components().collect() };
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                name if name.len() > MAX_COMPONENT_BYTES => return Err(PathError::ComponentTooLong),
                name => parts.push(name),
            }
        }
        if parts.len() > MAX_DEPTH_COMPONENTS {
            return Err(PathError::TooDeep);
        }
        let mut path = String::with_capacity(parts.iter().map(|p| p.len() + 1).sum::<usize>().max(1));
        for part in parts {
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() {
            path.push('/');
        }
        if path.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        Ok(Self(path))
    }

    /// This path seen from `home`, which takes the place of the root.
    ///
    /// # Errors
    /// [`PathError::TooLong`], [`PathError::TooDeep`].
    pub fn under(&self, home: &Self) -> Result<Self, PathError> {
        if self.is_root() { Ok(home.clone()) } else { home.resolve(&self.0[1..]) }
    }

    /// The inverse of [`VirtualPath::under`]: this path as seen from inside `home`, if it is inside.
    #[must_use]
    pub fn within(&self, home: &Self) -> Option<Self> {
        if home.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&home.0)?;
        match rest.as_bytes().first() {
            None => Some(Self::root()),
            Some(b'/') => Some(Self(rest.to_owned())),
            Some(_) => None,
        }
    }

    /// The directory it stands in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.rfind('/') {
            Some(0) | None => Some(Self::root()),
            Some(at) => Some(Self(self.0[..at].to_owned())),
        }
    }

    /// Its last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        if self.is_root() { None } else { self.0.rsplit('/').next() }
    }

    /// Its components, from the root down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// True for `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// True when it is `directory` or stands below it.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        self.within(directory).is_some()
    }

    /// Its text, with the leading `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its text without the leading `/`; `.` for the root. What a directory-relative system call wants.
    #[must_use]
    pub fn as_relative(&self) -> &str {
        if self.is_root() { "." } else { &self.0[1..] }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts made of what paths are made of, and of what they must not be made of.
    fn texts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[a-c]{1,3}",
            2 => Just("..".to_owned()),
            1 => Just(".".to_owned()),
            1 => Just(String::new()),
            1 => Just("...".to_owned()),
            1 => Just("..a".to_owned()),
            1 => Just("\\..\\".to_owned()),
            1 => "\\PC{0,4}",
            1 => any::<String>(),
        ];
        (any::<bool>(), proptest::collection::vec(part, 0..12)).prop_map(|(absolute, parts)| {
            let text = parts.join("/");
            if absolute { format!("/{text}") } else { text }
        })
    }

    fn paths() -> impl Strategy<Value = VirtualPath> {
        texts().prop_filter_map("a path", |text| VirtualPath::parse(&text).ok())
    }

    fn assert_normal(path: &VirtualPath) {
        let text = path.as_str();
        assert!(text.starts_with('/') && text.len() <= MAX_PATH_BYTES);
        assert!(path.is_root() || text[1..].split('/').all(|part| !matches!(part, "" | "." | "..")), "{text}");
        assert!(path.components().all(|part| part.len() <= MAX_COMPONENT_BYTES));
        assert!(path.components().count() <= MAX_DEPTH_COMPONENTS);
        assert!(!text.chars().any(char::is_control));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_parses_is_normal_and_parses_to_itself(text in texts()) {
            if let Ok(path) = VirtualPath::parse(&text) {
                assert_normal(&path);
                prop_assert_eq!(VirtualPath::parse(path.as_str()), Ok(path.clone()));
                prop_assert_eq!(VirtualPath::root().resolve_bytes(text.as_bytes()), Ok(path));
            }
        }

        #[test]
        fn no_text_leads_out_of_home(home in paths(), directory in paths(), text in texts()) {
            // As a session does it: resolve in the supplier's own tree, then put home in front.
            if let Ok(seen) = directory.resolve(&text) {
                assert_normal(&seen);
                if let Ok(real) = seen.under(&home) {
                    assert_normal(&real);
                    prop_assert!(real.is_within(&home));
                    prop_assert_eq!(real.within(&home), Some(seen));
                }
            }
        }

        #[test]
        fn within_is_true_for_what_is_below_and_for_nothing_else(home in paths(), other in paths()) {
            let parts = |path: &VirtualPath| path.components().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(other.is_within(&home), parts(&other).starts_with(&parts(&home)));
            if let Some(inner) = other.within(&home) {
                prop_assert_eq!(inner.under(&home), Ok(other));
            }
        }

        #[test]
        fn parent_and_name_make_the_path(path in paths()) {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => prop_assert_eq!(parent.resolve(name), Ok(path)),
                (parent, name) => prop_assert!(path.is_root() && parent.is_none() && name.is_none()),
            }
        }
    }

    #[test]
    fn resolution() {
        let directory = VirtualPath::parse("/a/b").unwrap();
        for (text, expected) in [
            ("c", "/a/b/c"),
            ("/c", "/c"),
            ("..", "/a"),
            ("../..", "/"),
            ("../../../../c", "/c"),
            ("./c//d/.", "/a/b/c/d"),
            ("//c", "/c"),
            ("c/", "/a/b/c"),
            ("...", "/a/b/..."),
            ("c\\..\\d", "/a/b/c\\..\\d"),
            ("~", "/a/b/~"),
            ("-la", "/a/b/-la"),
            (" ", "/a/b/ "),
        ] {
            assert_eq!(directory.resolve(text).unwrap().as_str(), expected, "{text:?}");
        }
    }

    #[test]
    fn refusals() {
        let root = VirtualPath::root();
        for text in ["a\0b", "a\nb", "\r", "\u{1b}[2J", "a\u{7f}", "a\u{85}b", "../\t"] {
            assert_eq!(root.resolve(text), Err(PathError::Control), "{text:?}");
        }
        assert_eq!(root.resolve(""), Err(PathError::Empty));
        assert_eq!(root.resolve_bytes(b"caf\xe9"), Err(PathError::NotUtf8));
        assert_eq!(root.resolve_bytes(b"a\xc0\xaf..\xc0\xafb"), Err(PathError::NotUtf8));
        assert!(root.resolve(&"x".repeat(255)).is_ok());
        assert_eq!(root.resolve(&"x".repeat(256)), Err(PathError::ComponentTooLong));
        assert_eq!(root.resolve(&"\u{20ac}".repeat(86)), Err(PathError::ComponentTooLong));
        assert!(root.resolve(&"a/".repeat(64)).is_ok());
        assert_eq!(root.resolve(&"a/".repeat(65)), Err(PathError::TooDeep));
        let long = format!("{}/", "x".repeat(255)).repeat(12);
        assert_eq!(root.resolve(&long).unwrap().as_str().len(), MAX_PATH_BYTES);
        assert_eq!(root.resolve(&format!("{long}a")), Err(PathError::TooLong));
    }

    #[test]
    fn the_root() {
        let root = VirtualPath::root();
        assert_eq!((root.as_str(), root.as_relative(), root.components().count()), ("/", ".", 0));
        assert_eq!(VirtualPath::parse("..").unwrap(), root);
        let path = VirtualPath::parse("/a/b").unwrap();
        assert_eq!(path.as_relative(), "a/b");
        assert_eq!(VirtualPath::parse("/a/bc").unwrap().within(&path), None);
        assert_eq!(path.within(&path), Some(root));
    }
}
