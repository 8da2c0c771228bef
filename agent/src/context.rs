//! What an agent may know about itself and its cluster.

use std::ops::Deref;

use hatchery_protocol::child::{Child, Context};

/// Who this agent is, and how it hears of its cluster. Cheap to clone: tasks take their own.
///
/// Everything is in the [`Context`] that it dereferences to.
#[derive(Debug, Clone)]
pub struct AgentContext(Context);

impl AgentContext {
    pub(crate) fn new(child: &Child) -> Self {
        Self(Context::new(child))
    }
}

impl Deref for AgentContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.0
    }
}
