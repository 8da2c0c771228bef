//! A payload, ready to be sent.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

use super::SendError;
use crate::post::{Body, Limits, MAX_INLINE, sealed};

/// Packed once, however many it goes to.
#[derive(Debug, Clone)]
pub(super) enum Packed {
    Inline(Bytes),
    /// A memory file, and how long it is.
    Large(Arc<OwnedFd>, u32),
}

impl Packed {
    /// For what is said without a payload.
    pub(super) const NOTHING: Self = Self::Inline(Bytes::new());

    /// Checks a payload, and puts a large one into a memory file.
    pub(super) fn new(limits: Limits, payload: Bytes) -> Result<Self, SendError> {
        let (size, limit) = (payload.len(), limits.max_message as usize);
        match u32::try_from(size) {
            Ok(length) if size <= limit => {
                if size <= MAX_INLINE {
                    return Ok(Self::Inline(payload));
                }
                let file = sealed(&payload).map_err(SendError::Memory)?;
                Ok(Self::Large(Arc::new(file), length))
            }
            _ => Err(SendError::TooLarge { size, limit }),
        }
    }

    pub(super) fn body(&self) -> Body<'_> {
        match self {
            Self::Inline(bytes) => Body::Inline(bytes.as_ref()),
            Self::Large(_, length) => Body::Large(*length),
        }
    }

    pub(super) fn file(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Inline(_) => None,
            Self::Large(file, _) => Some(Arc::clone(file)),
        }
    }
}
