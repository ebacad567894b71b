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
