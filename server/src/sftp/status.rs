//! What a refusal becomes on the wire: an `SSH_FX_*` code and one sentence.
//! The only place of the engine that knows both [`Reason`] and the codes.

use crate::delivery::{Reason, Refusal};

/// `SSH_FX_*` of draft-ietf-secsh-filexfer-02, section 7, as far as a server sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Code {
    /// Done.
    Ok = 0,
    /// Nothing more to read.
    Eof = 1,
    /// Nothing stands under that name.
    NoSuchFile = 2,
    /// The user may not.
    PermissionDenied = 3,
    /// Everything that has no code of its own in version 3.
    Failure = 4,
    /// Not offered.
    OpUnsupported = 8,
}

/// The code of a reason. Version 3 has few codes: most refusals are `FAILURE`, and the sentence says the rest.
#[must_use]
pub(super) fn code(reason: Reason) -> Code {
    match reason {
        Reason::NotFound => Code::NoSuchFile,
        Reason::Permission => Code::PermissionDenied,
        Reason::Unsupported => Code::OpUnsupported,
        Reason::AlreadyExists
        | Reason::WrongKind
        | Reason::NotEmpty
        | Reason::BadName
        | Reason::BadOffset
        | Reason::Incomplete
        | Reason::Rule
        | Reason::Quota
        | Reason::NoSpace
        | Reason::Busy
        | Reason::Internal => Code::Failure,
    }
}

/// A stale or foreign handle, or one of the wrong kind for the request.
pub(super) fn bad_handle() -> Refusal {
    Refusal::new(Reason::WrongKind, "that handle is not open for this request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_can_tell_the_cases_that_version_3_tells_apart() {
        assert_eq!(code(Reason::NotFound), Code::NoSuchFile);
        assert_eq!(code(Reason::Permission), Code::PermissionDenied);
        assert_eq!(code(Reason::Unsupported), Code::OpUnsupported);
        assert_eq!(code(Reason::Rule), Code::Failure);
    }
}
